//! The table. Read it beside spec §4: sections, events and errors stand in its order.
//!
//! A line is `event | case | dialects | tests`, each test as `file::function` of `tests/`. An event is its
//! number and its name, or its name alone where it has no number; a line without an event goes on with the one
//! before. A case is `ok`, an error's text in double quotes with `<…>` for what differs, or `never`: an error
//! that this broker has no way to give, with the closest thing that is tested, and the reason below.
//! Dialects are `1`, `2`, or `12`: what both have, both are asked.

pub(super) const TABLE: &str = r#"
## 4 every namespace

27 CLIENT_DISCONNECTED | ok | 12 | edge_handshake::defect_8_08_a_goodbye_ends_its_namespace_only debug::other_events_of_the_namespace
CLIENT_DISCONNETED     | ok |    | edge_handshake::defect_8_08_a_goodbye_ends_its_namespace_only
21 ERROR               | ok | 12 | bad_payloads::a_failure_without_ack_is_an_error_event both_dialects::failures_are_told_in_both_dialects

## 4.1 /

connect | ok                        | 12 | both_dialects::a_handshake_is_answered_in_the_words_of_its_dialect
        | "clientId is required."   | 12 | both_dialects::a_handshake_is_answered_in_the_words_of_its_dialect edge_handshake::defect_8_19_a_client_id_must_be_one
        | "Client is not trusted."  | 12 | both_dialects::a_handshake_is_answered_in_the_words_of_its_dialect edge_handshake::without_trust_nobody_connects_anywhere
        | "Invalid key."            | 12 | both_dialects::a_handshake_is_answered_in_the_words_of_its_dialect edge_keys::defect_8_03_without_a_safe_network_the_key_decides

## 4.2 /auth

connect                      | ok                                         | 12 | both_dialects::a_handshake_is_answered_in_the_words_of_its_dialect edge_keys::safe_network_get_key_is_answered_on_auth_only
26 GET_CLIENT_KEY            | ok                                         | 12 | events::auth_26_get_client_key
                             | "Unauthorized"                             | 1  | events::auth_26_get_client_key
                             | "Client key not found."                    | 12 | events::auth_26_get_client_key
                             | "You are have no right to get others key." | 2  | events::auth_26_get_client_key
26 GET_CLIENT_KEY            | ok                                         | 12 | both_dialects::a_password_in_the_handshake_is_answered_in_both_dialects edge_keys::the_pushes_follow_the_dialect
20                           | ok                                         | 1  | both_dialects::a_password_in_the_handshake_is_answered_in_both_dialects edge_keys::the_pushes_follow_the_dialect
28 CLIENT_KEY_ASSIGNED       | ok                                         | 12 | both_dialects::a_password_in_the_handshake_is_answered_in_both_dialects
                             | "Incorrect password."                      | 12 | both_dialects::a_password_in_the_handshake_is_answered_in_both_dialects
TEMP_ROOM_ASSIGNED           | ok                                         | 12 | both_dialects::an_invalid_key_leads_to_a_temp_room_in_both_dialects
23 LOGIN                     | ok                                         | 12 | events::auth_23_login
                             | "Invalid login data."                      | 12 | events::auth_23_login
                             | "Incorrect password."                      | 12 | events::auth_23_login
                             | "Password not set on server."              | 12 | events::auth_23_login
                             | "Server error during login."               | 12 | both_dialects::a_login_that_cannot_be_served_says_so_in_both_dialects
33 GET_SILLYTAVERN_EXTENSION | ok                                         | 12 | events::auth_33_get_sillytavern_extension
                             | never "No connected SillyTavern extensions." | 2 | events::auth_33_get_sillytavern_extension
31 CONNECTED_CLIENTS_UPDATE  | ok                                         | 12 | presence::defect_8_46_sockets_are_counted_and_extensions_told_on_both_namespaces
11 IDENTIFY_SILLYTAVERN      | ok                                         | 12 | events::auth_11_is_an_alias
13 CREATE_ROOM               | ok                                         | 12 | room_events::rooms_13_to_16_and_25
14 DELETE_ROOM               | ok                                         | 12 | room_events::rooms_13_to_16_and_25
15 ADD_CLIENT_TO_ROOM        | ok                                         | 12 | room_events::rooms_13_to_16_and_25
16 REMOVE_CLIENT_FROM_ROOM   | ok                                         | 12 | room_events::rooms_13_to_16_and_25
19 GET_ROOMS                 | ok                                         | 12 | room_events::rooms_19_get_rooms
21 ERROR                     | never "Target SillyTavern not found: <id>" | 12 | events::llm_9_llm_request

## 4.3 /clients

29 GET_ALL_CLIENT_KEYS      | ok                    | 12 | events::clients_29_get_all_client_keys
                            | "Unauthorized"        | 12 | events::clients_29_get_all_client_keys
26 GET_CLIENT_KEY           | ok                    | 12 | events::clients_26_get_client_key
                            | "Unauthorized"        | 12 | events::clients_26_get_client_key
                            | "No keys in stroge!"  | 12 | events::clients_26_get_client_key
17 GENERATE_CLIENT_KEY      | ok                    | 12 | events::clients_17_and_18_change_the_key_of_the_target
                            | "Unauthorized"        | 12 | events::clients_17_and_18_change_the_key_of_the_target
                            | "Client not found."   | 12 | events::clients_17_and_18_change_the_key_of_the_target
18 REMOVE_CLIENT_KEY        | ok                    | 12 | events::clients_17_and_18_change_the_key_of_the_target events::clients_18_on_a_safe_network_takes_the_key_and_leaves_the_sockets
                            | "Unauthorized"        | 12 | events::clients_17_and_18_change_the_key_of_the_target
32 UPDATE_CONNECTED_CLIENTS | ok                    | 12 | events::clients_32_update_connected_clients
                            | "Unauthorized"        | 12 | events::clients_32_update_connected_clients
getClientList               | ok                    |    | events::clients_24_the_key_store_by_number_and_who_is_here_by_name
                            | "Unauthorized"        |    | events::clients_24_the_key_store_by_number_and_who_is_here_by_name
24 GET_CLIENT_LIST          | ok                    | 12 | events::clients_24_the_key_store_by_number_and_who_is_here_by_name
                            | "Unauthorized"        | 1  | events::clients_24_the_key_store_by_number_and_who_is_here_by_name
getClientsInRoom            | ok                    |    | room_events::clients_in_a_room_by_their_literal_are_a_bare_array presence::defect_8_47_members_see_their_room_and_others_do_not
                            | "Unauthorized"        |    | room_events::clients_in_a_room_by_their_literal_are_a_bare_array presence::defect_8_47_members_see_their_room_and_others_do_not
25 GET_CLIENTS_IN_ROOM      | ok                    | 12 | room_events::rooms_13_to_16_and_25
                            | "Unauthorized"        | 12 | room_events::rooms_13_to_16_and_25
19 GET_ROOMS                | ok                    | 12 | room_events::rooms_19_get_rooms
getRooms                    | ok                    |    | room_events::rooms_19_get_rooms
15 ADD_CLIENT_TO_ROOM       | ok                    | 12 | room_events::rooms_13_to_16_and_25
16 REMOVE_CLIENT_FROM_ROOM  | ok                    | 12 | room_events::rooms_13_to_16_and_25
31 CONNECTED_CLIENTS_UPDATE | ok                    | 12 | presence::defect_8_46_sockets_are_counted_and_extensions_told_on_both_namespaces
UPDATE_CONNECTED_CLIENTS    | ok                    | 2  | events::clients_24_the_key_store_by_number_and_who_is_here_by_name

## 4.4 /llm

9 LLM_REQUEST            | ok | 12 | events::llm_9_llm_request both_dialects::answers_cross_from_each_dialect_into_each
                         | "Invalid LLM request data." | 12 | events::llm_9_llm_request
                         | "LLM requests should not be sent to the server directly." | 12 | events::llm_9_llm_request
                         | "Client <clientId> is not allowed to send messages to room <target>." | 12 | both_dialects::the_policy_of_rooms_holds_in_both_dialects
                         | "Target client not found: <target>" | 12 | events::llm_9_llm_request
                         | "Too many pending requests." | 12 | both_dialects::pending_requests_are_bounded_in_both_dialects
                         | "Duplicate requestId." | 12 | both_dialects::pending_requests_are_bounded_in_both_dialects
9 LLM_REQUEST            | ok | 12 | llm_requests::the_forwarded_object_is_the_senders_but_for_its_name llm_requests::a_named_extension_gets_the_superset
CLIENT_STREAM_START      | ok |    | both_dialects::answers_cross_from_each_dialect_into_each
CLIENT_STREAM_DATA_FIRST | ok |    | both_dialects::answers_cross_from_each_dialect_into_each
CLIENT_STREAM_DATA_MIDDLE | ok |   | both_dialects::answers_cross_from_each_dialect_into_each
CLIENT_STREAM_DATA_LAST  | ok |    | both_dialects::answers_cross_from_each_dialect_into_each
CLIENT_STREAM_END        | ok |    | both_dialects::answers_cross_from_each_dialect_into_each
$stream                  | ok |    | both_dialects::answers_cross_from_each_dialect_into_each llm_streams::defect_8_17_the_frames_of_one_token
$stream-read             | ok |    | both_dialects::answers_cross_from_each_dialect_into_each llm_streams::defect_8_17_the_frames_of_one_token
$stream-write            | ok |    | both_dialects::answers_cross_from_each_dialect_into_each llm_streams::defect_8_17_the_frames_of_one_token
                         | "invalid stream id: <id>" | | llm_streams::streams_towards_the_server_are_refused_and_odd_ids_ignored
$stream-end              | ok |    | both_dialects::answers_cross_from_each_dialect_into_each llm_streams::defect_8_17_the_frames_of_one_token
$stream-error            | ok |    | llm_answers::defect_8_34_an_error_of_the_extension_ends_streams_and_is_relayed
message                  | ok |    | both_dialects::answers_cross_from_each_dialect_into_each llm_answers::a_message_is_delivered_in_its_shape_and_completes_the_request
message                  | ok |    | both_dialects::a_health_check_is_answered_in_both_dialects
10 LLM_RESPONSE          | never "it is sent to nobody" | 12 | both_dialects::answers_cross_from_each_dialect_into_each
21 ERROR                 | ok | 12 | both_dialects::failures_are_told_in_both_dialects llm_answers::defect_8_34_an_error_of_the_extension_ends_streams_and_is_relayed
21 ERROR                 | "LLM request timed out." | 12 | both_dialects::failures_are_told_in_both_dialects
                         | "Target client disconnected: <id>" | 12 | both_dialects::failures_are_told_in_both_dialects

## 4.5 /rooms

13 CREATE_ROOM             | ok                                  | 12 | room_events::rooms_13_to_16_and_25
                           | "Unauthorized"                      | 12 | room_events::rooms_13_to_16_and_25
                           | "Invalid room name"                 | 12 | room_events::rooms_13_to_16_and_25
                           | "Room already exists"               | 12 | room_events::rooms_13_to_16_and_25
                           | "Too many rooms"                    | 1  | limits_clients::rooms_and_their_members
14 DELETE_ROOM             | ok                                  | 12 | room_events::rooms_13_to_16_and_25
                           | "Unauthorized"                      | 12 | room_events::rooms_13_to_16_and_25
                           | "Room not found"                    | 12 | room_events::rooms_13_to_16_and_25
15 ADD_CLIENT_TO_ROOM      | ok                                  | 12 | room_events::rooms_13_to_16_and_25
                           | "Unauthorized"                      | 12 | room_events::rooms_13_to_16_and_25
                           | "Failed to add client to room"      | 12 | room_events::rooms_13_to_16_and_25
16 REMOVE_CLIENT_FROM_ROOM | ok                                  | 12 | room_events::rooms_13_to_16_and_25
                           | "Unauthorized"                      | 12 | room_events::rooms_13_to_16_and_25
                           | "Failed to remove client from room" | 12 | room_events::rooms_13_to_16_and_25
19 GET_ROOMS               | ok                                  | 12 | room_events::rooms_19_get_rooms
                           | "Unauthorized"                      | 1  | room_events::rooms_19_get_rooms
getRooms                   | ok                                  |    | room_events::rooms_19_get_rooms
                           | "Unauthorized"                      |    | room_events::rooms_19_get_rooms
25 GET_CLIENTS_IN_ROOM     | ok                                  | 12 | room_events::rooms_13_to_16_and_25
                           | "Unauthorized"                      | 12 | room_events::rooms_13_to_16_and_25
getClientsInRoom           | ok                                  |    | room_events::clients_in_a_room_by_their_literal_are_a_bare_array
                           | "Unauthorized"                      |    | room_events::clients_in_a_room_by_their_literal_are_a_bare_array

## 4.6 /sillytavern

11 IDENTIFY_SILLYTAVERN | ok                               | 12 | events::sillytavern_11_identify
                        | "SillyTavern already connected." | 12 | events::sillytavern_11_identify
                        | "Unauthorized"                   | 12 | events::sillytavern_11_identify
                        | never "SillyTavern extension already connected." | 2 | events::sillytavern_11_identify
12 CLIENT_SETTINGS      | ok                               | 12 | events::sillytavern_12_client_settings
                        | "Unauthorized: Only SillyTavern extension can send client settings." | 12 | events::sillytavern_12_client_settings
21 ERROR                | "Client <id> disconnected and failed to reconnect. Room deleted." | 12 | presence::defect_8_48_after_the_grace_a_client_is_in_no_room_and_last_in_the_list

## 4.7 /function_call (§6.1)

22 FUNCTION_CALL | ok                             | 12 | events::function_call_22
                 | "Function \"<name>\" not found." | 12 | events::function_call_22
                 | "Invalid arguments."           | 12 | events::function_call_22
                 | "Target not found: <target>"   | 12 | events::function_call_22
                 | "Function call timed out."     | 12 | both_dialects::functions_are_called_from_each_dialect_in_each
                 | "Access denied: <why>"         | 12 | both_dialects::functions_are_called_from_each_dialect_in_each
                 | never "An unknown error occurred." | 12 | server_functions::a_function_that_fails_says_so_without_an_ack
22 FUNCTION_CALL | ok                             | 12 | both_dialects::functions_are_called_from_each_dialect_in_each function_calls::defect_8_43_a_call_reaches_the_extension_and_its_ack_comes_back_untouched

## 4.8 /debug

connect            | "Unauthorized"              | 12 | both_dialects::a_handshake_is_answered_in_the_words_of_its_dialect debug::extensions_and_administrators_only
TOGGLE_DEBUG_MODE  | ok                          | 12 | debug::toggle_debug_mode
                   | "Existing file is not valid JSON." | 12 | debug::a_settings_file_that_cannot_be_read_is_left_alone
DEBUG_MODE_CHANGED | ok                          | 12 | debug::toggle_debug_mode
SERVER_STATUS      | ok                          | 12 | debug::server_status_is_current
                   | never "message"             | 12 | debug::server_status_is_current
READ_LOG           | ok                          | 12 | debug::defect_d2_18_read_log
                   | "Invalid filename"          | 12 | debug::read_log_refuses_in_words
                   | "Invalid level Options"     | 12 | debug::read_log_refuses_in_words
                   | "Invalid page number"       | 12 | debug::read_log_refuses_in_words
                   | "Invalid page size (must be between 1 and 100)" | 12 | debug::read_log_refuses_in_words
                   | "Log file not found."       | 12 | debug::read_log_refuses_in_words

## 4.9.2 /rooms, requests

GET_ROOMS                     | ok                                  | 2 | rooms::get_rooms_and_clients_in_room
                              | never "message"                     | 2 | rooms::get_rooms_and_clients_in_room
GET_CLIENTS_IN_ROOM           | ok                                  | 2 | rooms::get_rooms_and_clients_in_room room_events::clients_in_a_room_by_their_literal_are_a_bare_array
                              | "Invalid room name"                 | 2 | rooms::get_rooms_and_clients_in_room
                              | "Room not found"                    | 2 | rooms::get_rooms_and_clients_in_room
                              | "Unauthorized"                      | 2 | rooms::get_rooms_and_clients_in_room
CREATE_ROOM                   | ok                                  | 2 | rooms::create_and_delete_room
                              | "Unauthorized"                      | 2 | rooms::create_and_delete_room
                              | "Room already exists"               | 2 | rooms::create_and_delete_room
                              | "Server is busy, try again later."  | 2 | room_failures::what_a_room_cannot_keep_fails_in_words
DELETE_ROOM                   | ok                                  | 2 | rooms::create_and_delete_room
                              | "Unauthorized"                      | 2 | rooms::create_and_delete_room
                              | "Room not found"                    | 2 | rooms::create_and_delete_room
ADD_CLIENT_TO_ROOM            | ok                                  | 2 | rooms::add_and_remove_client
                              | "Unauthorized"                      | 2 | rooms::add_and_remove_client
                              | "Failed to add client to room"      | 2 | rooms::add_and_remove_client room_failures::what_a_room_cannot_keep_fails_in_words
REMOVE_CLIENT_FROM_ROOM       | ok                                  | 2 | rooms::add_and_remove_client
                              | "Invalid operation"                 | 2 | rooms::add_and_remove_client
                              | "Failed to remove client from room" | 2 | rooms::add_and_remove_client room_failures::what_a_room_cannot_keep_fails_in_words
SET_MEMBER_ROLE               | ok                                  | 2 | rooms::set_member_role
                              | "Invalid role"                      | 2 | rooms::set_member_role
                              | "Failed to set member role"         | 2 | rooms::set_member_role room_failures::what_a_room_cannot_keep_fails_in_words
KICK_MEMBER                   | ok                                  | 2 | rooms::kick_member
                              | "Failed to kick member"             | 2 | rooms::kick_member room_failures::what_a_room_cannot_keep_fails_in_words
MUTE_MEMBER                   | ok                                  | 2 | rooms::mute_and_unmute_member
                              | "Permission denied."                | 2 | rooms::mute_and_unmute_member
                              | "Member not found"                  | 2 | rooms::mute_and_unmute_member
UNMUTE_MEMBER                 | ok                                  | 2 | rooms::mute_and_unmute_member
                              | "Permission denied."                | 2 | rooms::mute_and_unmute_member
                              | "Member not found"                  | 2 | rooms::mute_and_unmute_member
SET_ROOM_MESSAGE_REQUEST_MODE | ok                                  | 2 | rooms::set_room_message_request_mode
                              | "roomName and mode are required."   | 2 | rooms::set_room_message_request_mode
                              | "Invalid mode specified. Valid modes are: Immediate, HostSubmit, MasterOnly, Conversational" | 2 | rooms::set_room_message_request_mode
                              | "Room <r> not found."               | 2 | rooms::set_room_message_request_mode
                              | "Permission denied. Only room master/manager or admin can set the mode." | 2 | rooms::set_room_message_request_mode
                              | "Failed to set room mode."          | 2 | room_failures::what_a_room_cannot_keep_fails_in_words
SET_CONNECTION_POLICY         | ok                                  | 2 | room_assignments::defect_d2_11_set_connection_policy_says_that_it_worked
                              | "Unauthorized"                      | 2 | room_assignments::defect_d2_11_set_connection_policy_says_that_it_worked
                              | "Failed to set connection policy"   | 2 | room_assignments::defect_d2_11_set_connection_policy_says_that_it_worked room_failures::what_a_room_cannot_keep_fails_in_words
GET_CONNECTION_POLICY         | ok                                  | 2 | room_assignments::defect_d2_11_set_connection_policy_says_that_it_worked
ASSIGN_EXTENSION_TO_CLIENT    | ok                                  | 2 | room_assignments::manual_assigns_what_an_administrator_says
                              | "Unauthorized"                      | 2 | room_assignments::manual_assigns_what_an_administrator_says
                              | "Manual assignment is only allowed in Manual mode" | 2 | room_assignments::manual_assigns_what_an_administrator_says
                              | "Client room not found"             | 2 | room_assignments::manual_assigns_what_an_administrator_says
                              | "Extension not found: <id>"         | 2 | room_assignments::manual_assigns_what_an_administrator_says
GET_ASSIGNMENTS               | ok                                  | 2 | room_assignments::who_sees_which_assignments
GET_ASSIGNMENTS_FOR_ROOM      | ok                                  | 2 | room_assignments::who_sees_which_assignments
                              | "Unauthorized"                      | 2 | room_assignments::who_sees_which_assignments
GET_CONNECTED_EXTENSIONS      | ok                                  | 2 | room_assignments::who_sees_which_assignments
GET_CONNECTED_CLIENT_ROOMS    | ok                                  | 2 | room_assignments::who_sees_which_assignments
                              | "Unauthorized"                      | 2 | room_assignments::who_sees_which_assignments
SET_MESSAGE_REQUEST_MODE      | ok                                  | 2 | rooms::set_message_request_mode
                              | "Unauthorized"                      | 2 | rooms::set_message_request_mode
                              | "Invalid mode specified. Valid modes are: Immediate, HostSubmit, MasterOnly, Conversational" | 2 | rooms::set_message_request_mode

## 4.9.2 /rooms, pushes

MEMBER_JOINED        | ok | 2 | rooms::add_and_remove_client
MEMBER_LEFT          | ok | 2 | rooms::add_and_remove_client rooms::kick_member
MEMBER_ROLE_CHANGED  | ok | 2 | rooms::add_and_remove_client rooms::set_member_role rooms::a_master_that_leaves_is_succeeded
ROOM_MODE_CHANGED    | ok | 2 | rooms::set_room_message_request_mode
AVAILABLE_EXTENSIONS | ok | 2 | room_assignments::free_and_broadcast_assign_all_of_them room_assignments::manual_assigns_what_an_administrator_says
DELETE_ROOM          | ok | 2 | rooms::create_and_delete_room
30 WARNING           | ok | 2 | rooms::kick_member

## 4.9.3 policies

SET_CONNECTION_POLICY | ok | 2 | room_assignments::free_and_broadcast_assign_all_of_them room_assignments::manual_assigns_what_an_administrator_says room_assignments::balanced_and_random_assign_one_and_keep_it

## 4.9.4 /llm, requests in rooms

LLM_REQUEST           | ok | 2 | chat::immediate_a_request_is_recorded_forwarded_and_answered_to_everybody chat::defect_d2_13_host_submit_gathers_what_guests_ask_until_a_host_sends_it chat::defect_d2_12_modes_go_by_the_role_in_the_room_not_by_the_one_declared
                      | "You are currently muted and cannot send messages." | 2 | chat::requests_that_are_refused
                      | "Invalid or unauthorized target room." | 2 | chat::requests_that_are_refused
                      | "Invalid LLM request data." | 2 | chat::requests_that_are_refused
                      | "Failed to record request message." | 2 | room_failures::a_request_that_cannot_be_recorded_is_refused
                      | never "Invalid server mode configuration for this room." | 2 | room_failures::a_mode_that_is_none_is_immediate
                      | "LLM requests should not be sent to the server directly." | 2 | chat::requests_that_are_refused
                      | "Target client not found: <target>" | 2 | chat::requests_that_are_refused
                      | "Client <clientId> is not allowed to send messages to room <target>." | 2 | both_dialects::the_policy_of_rooms_holds_in_both_dialects
                      | "Server is busy, try again later." | 2 | chat_history::what_cannot_be_kept_was_not_said
                      | "Duplicate requestId." | 2 | chat::requests_that_are_refused
                      | "Too many pending requests." | 2 | room_failures::a_room_takes_so_many_requests_at_once room_failures::a_client_has_so_many_requests_in_all_its_rooms
LLM_REQUEST           | ok | 2 | chat_think::an_extension_is_invited_and_everybody_hears_what_it_thinks chat_think::an_extension_thinks_again_when_it_is_unmuted chat_think::defect_d2_17_nobody_is_invited_while_a_member_waits_for_an_answer
message               | ok |   | chat::immediate_a_request_is_recorded_forwarded_and_answered_to_everybody
REQUEST_STATUS_UPDATE | ok | 2 | chat::the_requester_learns_how_far_its_request_is

## 4.9.4 /llm, messages and members

EDIT_MESSAGE         | ok                                              | 2 | chat_history::edit_message
                     | "Missing required fields for editing message."  | 2 | chat_history::edit_message
                     | "Permission denied to edit this message."       | 2 | chat_history::edit_message
                     | "Failed to edit message. It might not exist."   | 2 | chat_history::edit_message room_failures::what_a_room_cannot_keep_fails_in_words
MESSAGE_UPDATED      | ok                                              | 2 | chat_history::edit_message
DELETE_MESSAGE       | ok                                              | 2 | chat_history::delete_message
                     | "Too many messages to delete."                  | 2 | chat_history::no_more_messages_are_deleted_at_once_than_a_room_can_have
                     | "No matching messages found to delete or operation failed." | 2 | chat_history::delete_message room_failures::what_a_room_cannot_keep_fails_in_words
                     | "Missing required fields for deleting messages." | 2 | chat_history::delete_message
                     | "Permission denied to delete these messages."   | 2 | chat_history::delete_message
MESSAGES_DELETED     | ok                                              | 2 | chat_history::delete_message
CLEAR_MESSAGES       | ok                                              | 2 | chat_history::clear_messages
                     | "Messages already cleared or operation failed." | 2 | chat_history::clear_messages room_failures::what_a_room_cannot_keep_fails_in_words
                     | "roomName is required to clear messages."       | 2 | chat_history::clear_messages
                     | "Permission denied to clear messages."          | 2 | chat_history::clear_messages
MESSAGES_CLEARED     | ok                                              | 2 | chat_history::clear_messages
GET_FULL_CONTEXT     | ok                                              | 2 | chat_pages::history_is_read_in_pages
                     | "roomName is required."                         | 2 | chat_pages::history_is_read_in_pages
                     | "You are not a member of room <r>."             | 2 | chat_pages::history_is_read_in_pages
                     | "Could not retrieve context for room <r>."      | 2 | chat_pages::history_is_read_in_pages
GET_OFFLINE_MESSAGES | ok                                              | 2 | chat_pages::history_is_read_in_pages
                     | "roomName is required."                         | 2 | chat_pages::history_is_read_in_pages
                     | "You are not a member of room <r>."             | 2 | chat_pages::history_is_read_in_pages
                     | "Could not retrieve context for room <r>."      | 2 | chat_pages::history_is_read_in_pages
UPDATE_CONTEXT_PAGE  | ok                                              | 2 | chat_pages::history_is_read_in_pages chat_pages::whoever_joins_or_is_back_is_sent_the_history
UPDATE_CONTEXT       | ok                                              | 2 | chat_pages::a_client_that_reads_contexts_whole_gets_no_pages
OFFLINE_MESSAGES     | never "it is sent to nobody"                    | 2 | chat_pages::history_is_read_in_pages
NEW_MESSAGE          | ok                                              | 2 | chat::immediate_a_request_is_recorded_forwarded_and_answered_to_everybody
START_TYPING         | ok                                              | 2 | chat_history::members_type_and_extensions_process
STOP_TYPING          | ok                                              | 2 | chat_history::members_type_and_extensions_process
START_PROCESSING     | ok                                              | 2 | chat_history::members_type_and_extensions_process chat_history::only_assigned_extensions_process
STOP_PROCESSING      | ok                                              | 2 | chat_history::members_type_and_extensions_process
MEMBER_STATUS_UPDATE | ok                                              | 2 | chat_history::members_type_and_extensions_process
MEMBER_MUTED         | ok                                              | 2 | rooms::mute_and_unmute_member
MEMBER_UNMUTED       | ok                                              | 2 | rooms::mute_and_unmute_member
"#;

/// Why an error of the specification never comes, by its text.
pub(super) const NEVER: &[(&str, &str)] = &[
    (
        "No connected SillyTavern extensions.",
        "the reference's of dialect 2 alone; an empty list is ok (§4.2)",
    ),
    (
        "Target SillyTavern not found: <id>",
        "the reference's; a target that is not there is \"Target client not found: <target>\" on /llm (§4.4)",
    ),
    ("it is sent to nobody", "the event is a constant that no server sends (§4.4, §4.9.4)"),
    (
        "SillyTavern extension already connected.",
        "the reference's of dialect 2 alone; the specification asks for the warning instead (§4.6)",
    ),
    (
        "An unknown error occurred.",
        "each built-in function says what is wrong with it; registry_tests.rs holds the text for one that does not",
    ),
    ("message", "no failure is named, and the event asks for nothing that could be refused"),
    (
        "Invalid server mode configuration for this room.",
        "a mode is one of four: SET_ROOM_MESSAGE_REQUEST_MODE refuses others, a setting that is none of them \
         counts as Immediate (§2.1), and a database that holds another one is not read at all",
    ),
];
