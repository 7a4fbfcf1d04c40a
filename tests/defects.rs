//! Every defect of the references (spec §8.1, §8.2) and every point of the interoperability checklist (appendix
//! B), in their order, with the tests that would fail on a server that has it. The table is held to the sources:
//! what it names is there and is run, and what is named after a defect is in its row.

use std::{collections::BTreeSet, fs, path::PathBuf};

/// Number and what it is about; below it the tests: a file, and the test's name as the file has it.
const TABLE: &str = r#"
8-01 does not start after a clean install
    tests/defects_start.rs defect_8_01_the_program_needs_nothing_but_itself
8-02 runtime state in the settings file ends the next start
    tests/defects_start.rs defect_8_02_it_starts_again_after_a_first_start_and_after_a_stranger
    actors/src/trust/store_tests.rs defect_8_02_runtime_state_and_odd_files_do_not_stop_the_start
    actors/src/trust/settings_file.rs defect_8_02_start_tolerates_any_json_and_ignores_runtime_state
8-03 with networkSafe:false nobody can connect
    tests/edge_keys.rs defect_8_03_without_a_safe_network_the_key_decides
    actors/src/trust/verdict_tests.rs defect_8_03_a_trusted_client_with_a_key_connects_when_the_network_is_not_safe
8-04 authentication after CONNECT: early events lost, handlers for everybody
    tests/defects_wire.rs defect_8_04_nothing_is_served_before_the_key_is_checked_or_without_it
    tests/edge_handshake.rs events_that_do_not_wait_for_the_answer_are_ignored_if_it_is_a_rejection
    tests/edge_handshake.rs whoever_has_its_answer_may_send_at_once
8-05 getKey is accepted in place of any key
    tests/edge_keys.rs whoever_cannot_show_a_key_may_only_log_in
    actors/src/trust/verdict_tests.rs defect_8_05_get_key_is_not_a_universal_key
8-06 no authentication on /
    tests/edge_handshake.rs without_trust_nobody_connects_anywhere
    tests/presence.rs defect_8_06_the_monitors_room_holds_the_trusted_monitor_and_nobody_else
    actors/src/trust/verdict_tests.rs defect_8_06_the_same_table_serves_every_namespace
8-07 networkSafe skips the trust check
    tests/edge_handshake.rs without_trust_nobody_connects_anywhere
    tests/defects_rooms.rs defect_d2_16_whoever_is_not_trusted_leaves_no_trace
    actors/src/trust/verdict_tests.rs defect_8_07_network_safe_does_not_skip_trust
8-08 a rejection or a goodbye closes the whole connection
    tests/edge_handshake.rs defect_8_08_a_rejected_namespace_takes_no_other_with_it
    tests/edge_handshake.rs defect_8_08_a_goodbye_ends_its_namespace_only
8-09 11 with somebody else's id
    tests/events.rs sillytavern_11_identify
    actors/src/trust/actor_tests.rs defect_8_09_asking_for_a_session_key_makes_nobody_trusted
8-10 keys are made anew at every start and connection
    tests/defects_start.rs keys_and_settings_are_after_a_kill_what_they_were
    tests/edge_keys.rs a_peer_on_loopback_gets_its_key_and_may_use_it
    actors/src/trust/keys_tests.rs defect_8_10_persistent_keys_survive_a_restart_and_are_not_replaced
8-11 hashes are handed out as keys
    tests/events.rs auth_26_get_client_key
    tests/events.rs clients_29_get_all_client_keys
    tests/edge_keys.rs a_peer_on_loopback_gets_its_key_and_may_use_it
    actors/src/trust/keys_tests.rs defect_8_11_never_a_hash
8-12 keys for everybody, in lists, and in plain in the file
    tests/events.rs clients_26_get_client_key
    tests/events.rs clients_24_the_key_store_by_number_and_who_is_here_by_name
    actors/src/trust/keys_tests.rs defect_8_12_the_file_holds_hashes_only
    tests/defects_start.rs keys_and_settings_are_after_a_kill_what_they_were
8-13 rights by the type that one declares
    tests/presence.rs defect_8_13_a_claimed_type_gives_no_right
    tests/edge_handshake.rs debug_is_for_extensions_and_administrators
    actors/src/trust/client_file.rs defect_8_13_administration_comes_from_the_file
8-14 trust files, passwords and LOGIN
    actors/src/trust/client_file.rs defect_8_14_both_fields_count_and_trust_is_exactly_true
    actors/src/trust/store_tests.rs defect_8_14_plain_passwords_are_hashed_in_place_and_not_inherited
    actors/src/trust/actor_tests.rs login_table
    tests/edge_keys.rs whoever_cannot_show_a_key_may_only_log_in
    tests/program.rs the_log_holds_no_key_no_password_and_no_text
8-15 12: inverted right, whole file replaced
    tests/server_functions.rs defect_8_15_client_settings_are_the_extensions
    actors/src/trust/settings_write_tests.rs defect_8_15_extensions_merge_known_keys_and_others_are_refused
8-16 leaving /auth crashes the server
    tests/defects_wire.rs defect_8_16_whoever_leaves_auth_leaves_a_broker_that_serves
8-17 the first DATA crashes the server
    tests/llm_streams.rs defect_8_17_the_frames_of_one_token
8-18 a missing payload or callback crashes the process
    tests/bad_payloads.rs every_event_of_a_client_answers
    tests/bad_payloads.rs every_event_of_an_extension_answers
    tests/bad_payloads.rs every_event_of_an_administrator_answers
    tests/events.rs auth_33_get_sillytavern_extension
8-19 an id that is no string
    tests/edge_handshake.rs defect_8_19_a_client_id_must_be_one
8-20 an exception in a handler ends the process
    src/server_tests.rs defect_8_20_a_panic_in_a_session_costs_that_session
    tests/bad_input.rs what_is_no_socket_io_packet
    tests/bad_input.rs random_bytes_close_a_session_at_most
8-21 every request is refused
    tests/llm_answers.rs a_message_is_delivered_in_its_shape_and_completes_the_request
    tests/events.rs llm_9_llm_request
8-22 answers reach nobody
    tests/llm_answers.rs a_message_is_delivered_in_its_shape_and_completes_the_request
    tests/llm_requests.rs every_socket_of_a_requester_receives_everything
8-23 one wire stream for many receivers
    tests/llm_streams.rs defect_8_23_deaf_slow_and_leaving_receivers_hold_nobody_else_up
    tests/llm_requests.rs every_socket_of_a_requester_receives_everything
8-24 the stream library cannot be called
    tests/llm_streams.rs defect_8_17_the_frames_of_one_token
8-25 nothing after the first token
    tests/llm_streams.rs defect_8_25_texts_arrive_as_they_were_cut
    tests/llm_streams.rs one_token_is_one_stream_and_one_write
8-26 the extension is its own requester
    tests/presence.rs defect_8_26_the_extension_that_answers_gets_no_stream
8-27 pieces in the order of arrival, repeats appended
    tests/llm_streams.rs defect_8_27_order_gaps_repeats_and_halves
    actors/src/stream/inbound/tests.rs pieces_leave_in_order_and_once
8-28 empty writes hang browsers
    tests/llm_streams.rs defect_8_25_texts_arrive_as_they_were_cut
    actors/src/stream/outbound/tests.rs defect_8_28_rule_6_never_an_empty_write
    tests/clients/browser.test.mjs ${transport}, ${streamName}: every byte, in order, once
8-29 text of several streams interleaves
    actors/src/stream/outbound/tests.rs defect_8_29_rule_7_order_across_streams
    actors/src/stream/outbound/model_tests.rs every_text_arrives_in_order_and_once
    tests/llm_streams.rs defect_8_25_texts_arrive_as_they_were_cut
8-30 halves of characters
    tests/llm_streams.rs defect_8_30_a_pair_may_straddle_two_tokens
    tests/llm_streams.rs defect_8_27_order_gaps_repeats_and_halves
    actors/src/stream/inbound/tests.rs halves_of_characters_are_joined_over_the_output
8-31 state without bound, texts in the log
    tests/tidy/bounds.rs every_number_of_the_configuration_has_a_row
    tests/tidy/bounds.rs every_bound_has_a_test
    tests/llm_requests.rs requests_in_all_are_bounded
    tests/limits_streams.rs text_that_waits_for_a_gap_is_bounded_per_stream_and_per_output
    tests/llm_answers.rs a_streamed_answer_is_over_when_nothing_more_comes
    tests/limits_streams.rs max_outputs
    tests/limits_files.rs max_static_resources
    tests/log_files.rs defect_8_31_the_files_hold_no_key_no_password_and_no_text
8-32 anyone may answer for any request
    tests/llm_answers.rs defect_8_32_an_answer_from_somebody_who_was_not_asked_is_dropped
    tests/llm_answers.rs defect_8_32_an_answer_to_somebody_elses_request_goes_nowhere
    tests/llm_streams.rs defect_8_32_a_stream_from_somebody_who_was_not_asked_reaches_nobody
8-33 a foreign requestId subscribes, a repeated one delivers twice
    tests/llm_requests.rs defect_8_33_a_foreign_request_is_refused_unless_requests_are_shared
    tests/llm_requests.rs defect_8_33_a_repeat_is_acked_and_not_forwarded_again
8-34 an extension's ERROR is ignored
    tests/llm_answers.rs defect_8_34_an_error_of_the_extension_ends_streams_and_is_relayed
8-35 no timeout, no reaction to a lost extension, no limit
    tests/llm_answers.rs defect_8_35_a_request_without_any_answer_times_out
    tests/llm_absence.rs an_extension_that_stays_away_fails_its_streams_at_once_and_its_requests_after_the_grace
    tests/llm_requests.rs pending_requests_of_a_client_and_of_an_extension_are_bounded
8-36 a health check is routed, and loses its requestId
    tests/llm_answers.rs defect_8_36_a_health_check_is_answered_and_routed_to_nobody
8-37 strings of clients index plain objects
    tests/defects_wire.rs defect_8_37_inherited_names_are_names_like_others
    actors/src/trust/json_text.rs defect_8_37_inherited_names_are_ordinary_keys
8-38 33 lists duplicates, and acks twice
    tests/defects_wire.rs defect_8_38_each_extension_is_listed_once_by_an_ack_that_is_sent_once
8-39 any web page may connect; all interfaces
    tests/edge_access.rs defect_8_39_a_foreign_host_is_refused
    tests/edge_access.rs defect_8_39_a_foreign_origin_is_refused
    tests/edge_access.rs the_published_address_is_its_own_origin
    tests/edge_access.rs an_open_session_is_no_way_around
    tests/edge_access.rs an_allowed_origin_is_reflected_and_no_other
    tests/edge_http.rs defect_8_39_loopback_is_bound_in_both_families_and_nothing_else_is
    tests/program.rs defect_8_39_a_refusal_names_the_setting_that_would_allow_it
    tests/program.rs it_listens_where_it_is_told_to
    tests/program.rs an_open_network_without_keys_is_warned_of
    src/access.rs hosts
    src/access.rs origins
8-40 files: every client reads and writes everything
    tests/server_functions.rs defect_8_40_files_by_caller
    actors/src/functions/paths.rs defect_8_40_symlinks_are_resolved
    actors/src/functions/permissions_tests.rs defect_8_40_nobody_touches_keys_logs_and_code_in_any_spelling
    actors/src/functions/json_files_tests.rs defect_8_40_access_is_denied_outside_and_restricted_files
    actors/src/functions/json_files_tests.rs defect_8_40_symlinks_do_not_widen_rights
8-41 errors reveal absolute paths
    actors/src/functions/json_files_tests.rs defect_8_41_failures_are_inside_the_result_and_show_no_server_path
    tests/server_functions.rs defect_8_40_files_by_caller
8-42 inherited names are functions
    actors/src/functions/registry_tests.rs defect_8_42_only_own_names_are_functions
    tests/function_calls.rs a_call_of_the_servers_functions
8-43 calls are forwarded to nobody, and acked (null, [])
    tests/function_calls.rs defect_8_43_a_call_reaches_the_extension_and_its_ack_comes_back_untouched
    tests/function_calls.rs defect_8_43_a_call_to_nobody_and_one_whose_extension_leaves
8-44 addStaticResources cannot be called, stops after one, exposes all
    tests/static_resources.rs static_resources_from_their_mapping_to_their_bytes
    actors/src/functions/static_resources_tests.rs defect_8_44_arrays_objects_and_a_leading_framework_are_accepted_with_every_entry
    actors/src/functions/static_resources_tests.rs files_by_caller
8-45 /dist publishes the server's source
    tests/edge_http.rs what_is_private_is_not_there
8-46 client list: wrong namespace, entry gone with one socket
    tests/presence.rs defect_8_46_sockets_are_counted_and_extensions_told_on_both_namespaces
8-47 getClientsInRoom for everybody, ids of sockets
    tests/presence.rs defect_8_47_members_see_their_room_and_others_do_not
8-48 no grace, no /rooms
    tests/presence.rs defect_8_48_memberships_and_places_are_kept_over_the_grace
    tests/presence.rs defect_8_48_after_the_grace_a_client_is_in_no_room_and_last_in_the_list
    tests/room_events.rs rooms_13_to_16_and_25
8-49 a client is never found in a room
    tests/presence.rs defect_8_47_members_see_their_room_and_others_do_not
    tests/llm_requests.rs members_of_the_room_may_ask_under_the_policy_of_rooms
8-50 settings after the port is open, and never again
    actors/src/trust/store_tests.rs defect_8_50_files_count_before_the_port_opens_and_changes_without_restart
    actors/src/trust/actor_tests.rs defect_8_50_a_watched_change_needs_no_restart
    tests/edge_handshake.rs a_client_that_is_added_needs_no_restart
    tests/defects_start.rs keys_and_settings_are_after_a_kill_what_they_were
8-51 unsynchronised writes of the key file
    actors/src/trust/keys_tests.rs defect_8_51_concurrent_changes_are_all_kept
    actors/src/trust/atomic_file.rs defect_8_51_readers_see_old_or_new_never_half
8-52 a long answer disconnects its extension
    tests/defects_wire.rs defect_8_52_an_answer_of_more_than_a_megabyte_arrives_whole
8-53 unlimited hashing for whoever connects
    actors/src/trust/hashing.rs defect_8_53_waiting_is_bounded
    actors/src/trust/actor_tests.rs defect_8_53_many_wrong_keys_at_once_are_bounded
    tests/limits_clients.rs failed_checks_per_minute
    tests/limits_clients.rs max_waiting_hashes
    tests/limits_clients.rs a_hash_holds_nobody_up
8-54 markup in descriptions and ids
    tests/presence.rs defect_8_54_descriptions_reach_pages_without_markup
    tests/edge_handshake.rs defect_8_54_lists_carry_no_markup_of_clients
    actors/src/protocol/description.rs defect_8_54_descriptions_cannot_carry_markup
8-55 $stream and placeholders in metadata
    tests/llm_streams.rs defect_8_55_metadata_are_texts_whatever_the_ids_look_like
    tests/bad_input.rs attachments_that_do_not_add_up
    actors/src/namespaces/deliveries.rs metadata_holds_only_strings

D2-1 cannot start
    tests/defects_start.rs defect_8_01_the_program_needs_nothing_but_itself
    tests/defects_start.rs defect_d2_02_every_request_of_rooms_and_chats_is_served_by_a_fresh_program
    tests/defects_start.rs defect_8_02_it_starts_again_after_a_first_start_and_after_a_stranger
D2-2 room methods that are not there
    tests/defects_start.rs defect_d2_02_every_request_of_rooms_and_chats_is_served_by_a_fresh_program
D2-3 undefined identifiers on hot paths
    tests/defects_start.rs defect_d2_02_every_request_of_rooms_and_chats_is_served_by_a_fresh_program
    tests/llm_requests.rs a_named_extension_gets_the_superset
D2-4 undefined names of events
    tests/defects_rooms.rs defect_d2_04_no_event_is_called_null
D2-5 notices and timers that never arrive
    tests/defects_rooms.rs defect_d2_05_notices_of_the_room_arrive
    tests/chat_think.rs an_extension_thinks_again_when_it_is_unmuted
D2-6 an entry and the whole history at every token
    tests/chat_answers.rs defect_d2_06_an_answer_is_one_entry_at_its_completion
D2-7 answers and deletions unannounced, "left" announced as "joined"
    tests/defects_rooms.rs defect_d2_07_answers_and_deletions_are_announced_and_whoever_leaves_has_not_joined
D2-8 clientId and identity mixed
    tests/defects_rooms.rs defect_d2_08_an_identity_is_the_id_unless_it_is_given
    tests/rooms.rs instances_of_one_client_are_members_of_their_own
D2-9 news of a chat not on /llm
    tests/defects_rooms.rs defect_d2_09_news_of_a_chat_come_on_llm
D2-10 keys acked as {}
    tests/events.rs clients_17_and_18_change_the_key_of_the_target
D2-11 SET_CONNECTION_POLICY reports failure
    tests/room_assignments.rs defect_d2_11_set_connection_policy_says_that_it_worked
D2-12 the role of a request is declared, editing is unchecked
    tests/chat.rs defect_d2_12_modes_go_by_the_role_in_the_room_not_by_the_one_declared
    tests/defects_rooms.rs defect_d2_12_messages_are_their_authors_and_the_hosts
D2-13 merged texts vanish, and the host's comes first
    tests/chat.rs defect_d2_13_host_submit_gathers_what_guests_ask_until_a_host_sends_it
D2-14 one auxiliary socket takes the member with it
    tests/defects_rooms.rs defect_d2_14_an_auxiliary_socket_takes_nobody_out_of_a_room
D2-15 no ack, no request; "ok" before validation
    tests/defects_rooms.rs defect_d2_15_a_request_without_an_ack_is_served
    tests/chat.rs requests_that_are_refused
D2-16 strangers on / make members and rooms
    tests/defects_rooms.rs defect_d2_16_whoever_is_not_trusted_leaves_no_trace
D2-17 a paid model is called unattended
    tests/chat_think.rs defect_d2_17_a_room_that_selects_no_conversation_has_none_and_one_waits_for_its_answer
    tests/chat_think.rs defect_d2_17_nobody_is_invited_to_an_empty_room
    tests/chat_think.rs defect_d2_17_nobody_is_invited_while_a_member_waits_for_an_answer
    tests/chat_think.rs defect_d2_17_invitations_are_limited_per_room_and_hour
D2-18 READ_LOG filters everything, logs hold everything
    tests/debug.rs defect_d2_18_read_log
    actors/src/logs/page.rs defect_d2_18_a_level_means_this_level_and_above
    tests/log_files.rs defect_8_31_the_files_hold_no_key_no_password_and_no_text

B-1 the official client in every namespace, and the acks
    tests/clients/conduct.test.mjs 9 LLM_REQUEST
    tests/clients/conduct.test.mjs 11 IDENTIFY_SILLYTAVERN
    tests/clients/conduct.test.mjs 17 GENERATE_CLIENT_KEY, 18 REMOVE_CLIENT_KEY
    tests/clients/conduct.test.mjs 22 FUNCTION_CALL
    tests/clients/conduct.test.mjs 23 LOGIN
    tests/clients/conduct.test.mjs 26 GET_CLIENT_KEY
    tests/clients/conduct.test.mjs 29 GET_ALL_CLIENT_KEYS
    tests/clients/conduct.test.mjs 32 UPDATE_CONNECTED_CLIENTS and the push of 31
    tests/clients/conduct.test.mjs 33 GET_SILLYTAVERN_EXTENSION
    tests/clients/conduct.test.mjs getClientList, getClientsInRoom
B-2 the start sequence of the published extension
    tests/traces.rs connect
    tests/traces.rs one_run
    tests/clients/extension.test.mjs the start sequence gets every ack that it waits for
B-3 every byte in order: Node build, browser bundle, polling, both names
    tests/clients/matrix.test.mjs name
    tests/clients/matrix.test.mjs nothing came twice, and nothing failed
    tests/clients/browser.test.mjs ${transport}, ${streamName}: every byte, in order, once
    tests/clients/extension.test.mjs the simulated extension cuts tokens as the published one does
B-4 out of order, duplicated, missing, RETRY, FAILED
    tests/llm_streams.rs defect_8_27_order_gaps_repeats_and_halves
    tests/llm_answers.rs a_piece_that_is_given_up_without_data_leaves_no_gap
B-5 two requesters, a slow, a deaf and a disconnecting receiver
    tests/clients/conduct.test.mjs two requesters at once get their own answers, and nothing of the other
    tests/clients/conduct.test.mjs a deaf receiver, a slow one and one that leaves
    tests/llm_streams.rs defect_8_23_deaf_slow_and_leaving_receivers_hold_nobody_else_up
B-6 forgeries, foreign ids, escapes, getKey and Origin are refused
    tests/clients/conduct.test.mjs forged responses
    tests/clients/conduct.test.mjs a foreign requestId
    tests/clients/conduct.test.mjs IDENTIFY with the id of another extension
    tests/clients/conduct.test.mjs paths that lead out of the server directory, or to keys
    tests/clients/conduct.test.mjs getKey from afar opens nothing
    tests/edge_access.rs defect_8_39_a_foreign_origin_is_refused
B-7 odd payloads of every event, with and without ack
    tests/clients/conduct.test.mjs every event, every shape, with and without ack, as ${clientId}: the sockets stay
    tests/bad_payloads.rs every_event_of_a_client_answers
    tests/bad_payloads.rs every_event_of_an_extension_answers
    tests/bad_payloads.rs every_event_of_an_administrator_answers
    tests/bad_payloads.rs every_named_event_of_a_client_answers
    tests/bad_payloads.rs every_named_event_of_an_extension_answers
    tests/bad_payloads.rs every_named_event_of_an_administrator_answers
B-8 keys and settings after a kill
    tests/defects_start.rs keys_and_settings_are_after_a_kill_what_they_were
    tests/rooms_crash.rs what_was_acked_survives_twenty_kills
"#;

type Row = (&'static str, &'static str, Vec<&'static str>);

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("    ") {
            Some(test) => rows.last_mut().expect("a row above").2.push(test),
            None => {
                let (number, what) = line.split_once(' ').expect("a number, and what it is about");
                rows.push((number, what, Vec::new()));
            }
        }
    }
    rows
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// Functions that `cargo test` runs.
fn rust_tests(text: &str) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    let in_proptest = text.contains("proptest! {");
    // Whether it is a test, and whether it is left out.
    let (mut is_test, mut ignored) = (false, false);
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            let name = line.trim_start_matches("#[").split(['(', ']']).next().unwrap_or_default();
            is_test |= name == "test" || name.ends_with("::test");
            ignored |= name.starts_with("ignore");
        } else if !line.starts_with("//") {
            let function = line.trim_start_matches("async ").strip_prefix("fn ");
            if let Some(name) = function.filter(|_| (is_test || in_proptest) && !ignored) {
                tests.insert(name.split(['(', '<']).next().unwrap_or_default());
            }
            (is_test, ignored) = (false, false);
        }
    }
    tests
}

/// Whether `node --test` runs a test of that title; titles that are made are named as they are written.
fn is_title(text: &str, title: &str) -> bool {
    ['\'', '`'].iter().any(|quote| text.contains(&format!(" test({quote}{title}{quote}, ")))
        || text.contains(&format!("\ntest('{title}', "))
        || text.contains(&format!(" test({title}, "))
}

#[test]
fn every_number_has_a_row_in_its_place() {
    let numbers: Vec<&str> = rows().into_iter().map(|(number, ..)| number).collect();
    let wanted: Vec<String> = (1..=55)
        .map(|number| format!("8-{number:02}"))
        .chain((1..=18).map(|number| format!("D2-{number}")))
        .chain((1..=8).map(|number| format!("B-{number}")))
        .collect();
    assert_eq!(numbers, wanted);
    for (number, what, tests) in rows() {
        assert!(!what.is_empty() && !tests.is_empty(), "{number} says nothing");
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut missing = Vec::new();
    for (number, _, tests) in rows() {
        for test in tests {
            let (path, name) = test.split_once(' ').expect("a file and a name");
            let there = read(path).is_some_and(|text| {
                if path.ends_with(".mjs") { is_title(&text, name) } else { rust_tests(&text).contains(name) }
            });
            if !there {
                missing.push(format!("{number}: {test}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "not a test, or not there");
}

/// `8-04` of `defect_8_04_…`, `D2-1` of `defect_d2_01_…`.
fn number_of(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix("defect_")?.split('_');
    let (list, number) = (parts.next()?, parts.next()?.parse::<u8>().ok()?);
    Some(if list == "8" { format!("8-{number:02}") } else { format!("{}-{number}", list.to_uppercase()) })
}

#[test]
fn what_is_named_after_a_defect_is_in_its_row() {
    assert_eq!(number_of("defect_8_04_x").as_deref(), Some("8-04"));
    assert_eq!(number_of("defect_d2_01_x").as_deref(), Some("D2-1"));
    let rows = rows();
    let mut folders = ["tests", "src", "actors", "framing"].map(|folder| root().join(folder)).to_vec();
    let (mut found, mut lost) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let path =
                    path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
                for name in rust_tests(&text).into_iter().filter(|name| name.starts_with("defect_")) {
                    found += 1;
                    let test = format!("{path} {name}");
                    let number = number_of(name);
                    let row = rows.iter().find(|(row, ..)| Some(*row) == number.as_deref());
                    if !row.is_some_and(|(_, _, tests)| tests.contains(&test.as_str())) {
                        lost.push(test);
                    }
                }
            }
        }
    }
    assert!(found > 90, "{found}");
    assert_eq!(lost, Vec::<String>::new(), "in no row, or in another one");
}
