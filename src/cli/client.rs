//! `client …`: who may connect (spec §2.2, §9.2 Q10).

use std::io::{BufRead, Read};

use actors::trust::roster::{Listed, Roster};
use clap::{Args, Subcommand};

use super::Said;

/// `client …`
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Trusts a new client: writes settings/ID.json and prints its key, which is stored as a hash only.
    Add(AddArgs),
    /// Lists the clients, and whether they are trusted, administrate and have a key.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes a client's key. Where "networkSafe" is false, that ends its connections.
    Revoke {
        /// Whose key.
        id: String,
        /// Remove its settings file as well: it may not connect any more.
        #[arg(long)]
        remove: bool,
    },
}

/// `client add …`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The client's id. One that begins with SillyTavern is an extension's.
    pub id: String,
    /// With administration rights.
    #[arg(long)]
    pub admin: bool,
    /// "-": its password is read from standard input, one line.
    #[arg(long, value_name = "-", value_parser = ["-"])]
    pub password: Option<String>,
}

/// Longest password that is read: bcrypt takes no notice of more.
const MAX_PASSWORD: u64 = 72;

pub(super) fn run(command: ClientCommand, roster: &Roster) -> Result<Said, String> {
    match command {
        ClientCommand::Add(args) => add(&args, roster),
        ClientCommand::List { json } => list(json, roster),
        ClientCommand::Revoke { id, remove } => revoke(&id, remove, roster),
    }
}

fn add(AddArgs { id, admin, password }: &AddArgs, roster: &Roster) -> Result<Said, String> {
    let password = password.as_ref().map(|_| read_password()).transpose()?;
    let added = roster.add(id, *admin, password.as_deref()).map_err(|error| error.to_string())?;
    let notes = vec![
        format!("client {id:?} added: {}", added.file.display()),
        "Its key follows. It is stored as a hash and cannot be shown again.".to_owned(),
    ];
    Ok(Said { notes, ..Said::result(added.key) })
}

fn read_password() -> Result<String, String> {
    let mut line = String::new();
    // With a line feed, and one byte more that shows that it is too long.
    let mut input = std::io::stdin().lock().take(MAX_PASSWORD + 2);
    input.read_line(&mut line).map_err(|error| format!("no password on standard input: {error}"))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.len() as u64 > MAX_PASSWORD {
        return Err(format!("the password is longer than {MAX_PASSWORD} bytes"));
    }
    Ok(password.to_owned())
}

fn list(json: bool, roster: &Roster) -> Result<Said, String> {
    let (clients, problems) = roster.list().map_err(|error| error.to_string())?;
    let result = match json {
        true => serde_json::to_string_pretty(&clients).map_err(|error| error.to_string())?,
        false => table(&clients),
    };
    let notes = problems.iter().map(ToString::to_string).collect();
    Ok(Said { notes, ..Said::result(result) })
}

fn table(clients: &[Listed]) -> String {
    let yes = |is: bool| if is { "yes" } else { "no" };
    let width = clients.iter().map(|client| client.client_id.chars().count()).max().unwrap_or(0).max(2);
    let row = |cells: [&str; 5]| {
        let [id, class, trusted, admin, key] = cells;
        format!("{id:width$}  {class:9}  {trusted:7}  {admin:5}  {key}")
    };
    let head = row(["ID", "CLASS", "TRUSTED", "ADMIN", "KEY"]);
    let rows = clients.iter().map(|client| {
        // What the key file has for an id may be anything, and a terminal obeys control characters.
        let id = client.client_id.replace(char::is_control, "?");
        row([&id, client.class, yes(client.trusted), yes(client.admin), yes(client.has_key)])
    });
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}

fn revoke(id: &str, remove: bool, roster: &Roster) -> Result<Said, String> {
    let revoked = roster.revoke(id, remove).map_err(|error| error.to_string())?;
    let mut said = vec![match revoked.key {
        true => format!("the key of {id:?} is revoked"),
        false => format!("{id:?} has no key"),
    }];
    said.extend(revoked.files.iter().map(|file| format!("removed: {}", file.display())));
    let notes = revoked.problems.iter().map(ToString::to_string).collect();
    Ok(Said { notes, ..Said::result(said.join("\n")) })
}
