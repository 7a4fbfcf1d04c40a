//! What a test says, as far as a table can ask: the numbers and texts of its function and of what that calls.

use std::{collections::BTreeMap, fs, path::Path};

/// A piece of Rust that matters here.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Sign(char),
}

/// A function, or a constant outside of one.
#[derive(Debug)]
struct Item {
    is_test: bool,
    /// It belongs to a type.
    is_method: bool,
    tokens: Vec<Token>,
}

/// One file of tests, or one module that they share.
struct File {
    items: BTreeMap<String, Vec<Item>>,
    modules: Vec<String>,
}

/// All files of tests.
pub(super) struct Sources(BTreeMap<String, File>);

/// What a test says.
#[derive(Default)]
pub(super) struct Said {
    texts: Vec<String>,
    numbers: Vec<String>,
}

impl Sources {
    /// Reads `tests/*.rs` and the modules beside them.
    pub(super) fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("a folder of tests") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let file = if path.is_dir() { path.join("mod.rs") } else { path.clone() };
            if file.extension().is_some_and(|extension| extension == "rs")
                && let Ok(text) = fs::read_to_string(&file)
            {
                files.insert(name, File::of(&tokens(&text)));
            }
        }
        Self(files)
    }

    /// What a test says, `file::function`; why not, if there is no such test.
    pub(super) fn said(&self, test: &str) -> Result<Said, String> {
        let (name, function) = test.split_once("::").ok_or_else(|| format!("{test}: no file::function"))?;
        let file = self.0.get(name).ok_or_else(|| format!("{test}: there is no tests/{name}.rs"))?;
        let found = file.items.get(function).and_then(|items| items.iter().find(|item| item.is_test));
        let item = found.ok_or_else(|| format!("{test}: there is no such test"))?;
        let mut said = Said::default();
        let mut open = vec![item];
        let mut known: Vec<*const Item> = vec![item];
        while let Some(item) = open.pop() {
            for token in &item.tokens {
                match token {
                    Token::Text(text) => said.texts.push(text.clone()),
                    Token::Number(number) => said.numbers.push(number.clone()),
                    Token::Word(word) => {
                        for called in self.called(file, word) {
                            if !known.contains(&std::ptr::from_ref(called)) {
                                known.push(called);
                                open.push(called);
                            }
                        }
                    }
                    Token::Sign(_) => (),
                }
            }
        }
        Ok(said)
    }

    /// What a word may mean in a file: something of its own, or of the modules that it shares. What they do to
    /// set the scene is not what a test is about: of their methods count those of the two sides of a request,
    /// and what a room's members say and read.
    fn called<'a>(&'a self, file: &'a File, word: &str) -> Vec<&'a Item> {
        let own = file.items.get(word).into_iter().flatten();
        let shared = file.modules.iter().flat_map(|module| {
            let items = self.0.get(module).and_then(|module| module.items.get(word)).into_iter().flatten();
            let counts = module == "llm_world" || ["answers", "page"].contains(&word);
            items.filter(move |item| !item.is_method || counts)
        });
        own.chain(shared).filter(|item| !item.is_test).collect()
    }
}

impl Said {
    /// Whether an event of that name is asked or heard: as a text, or in a packet.
    pub(super) fn names(&self, event: &str) -> bool {
        let quoted = format!("\"{event}\"");
        // A part of a name, which the harness puts together.
        let part = event.strip_prefix("CLIENT_STREAM_DATA_");
        self.texts.iter().any(|text| text == event || text.contains(&quoted) || part == Some(text))
    }

    /// The same by its number.
    pub(super) fn numbers(&self, event: &str) -> bool {
        let packet = [format!("[{event},"), format!("[{event}]")];
        self.numbers.iter().any(|number| number == event)
            || self.texts.iter().any(|text| text == event || packet.iter().any(|part| text.contains(part)))
    }

    /// Whether it says exactly that text, with anything where `<…>` stands: as a text of its own, or within the
    /// quotes of a packet.
    pub(super) fn says(&self, message: &str) -> bool {
        let parts: Vec<&str> =
            message.split('<').map(|part| part.split_once('>').map_or(part, |(_, rest)| rest)).collect();
        self.texts.iter().any(|text| {
            text.match_indices(parts[0]).any(|(at, _)| {
                let (before, mut rest) = text.split_at(at);
                let all = parts
                    .iter()
                    .all(|part| rest.find(part).map(|at| rest = &rest[at + part.len()..]).is_some());
                let ends = parts.last() == Some(&"") || rest.is_empty() || rest.starts_with('"');
                all && ends && (before.is_empty() || before.ends_with('"'))
            })
        })
    }
}

impl File {
    fn of(tokens: &[Token]) -> Self {
        let mut file = Self { items: BTreeMap::new(), modules: Vec::new() };
        let mut depth = 0_usize;
        let mut at = 0;
        while at < tokens.len() {
            let word = |at: usize| match tokens.get(at) {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match &tokens[at] {
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => depth = depth.saturating_sub(1),
                Token::Word(kind) if kind == "mod" && tokens.get(at + 2) == Some(&Token::Sign(';')) => {
                    file.modules.push(word(at + 1).to_owned());
                }
                Token::Word(kind) if (kind == "fn" || kind == "const") && word(at + 1) != "fn" => {
                    let ends = if kind == "fn" { end_of_body(tokens, at) } else { end_of_const(tokens, at) };
                    let item = Item {
                        is_test: is_test(&tokens[..at]),
                        is_method: depth > 0,
                        tokens: tokens[at + 2..ends].to_vec(),
                    };
                    file.items.entry(word(at + 1).to_owned()).or_default().push(item);
                    at = ends;
                    continue;
                }
                _ => (),
            }
            at += 1;
        }
        file
    }
}

/// Behind the body's last brace, or behind a declaration without a body.
fn end_of_body(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') if depth == 1 => return at + 1,
            Token::Sign('}') => depth = depth.saturating_sub(1),
            Token::Sign(';') if depth == 0 && tokens[at - 1] == Token::Sign(')') => return at + 1,
            _ => (),
        }
    }
    tokens.len()
}

fn end_of_const(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token {
            Token::Sign('{' | '[' | '(') => depth += 1,
            Token::Sign('}' | ']' | ')') => depth = depth.saturating_sub(1),
            Token::Sign(';') if depth == 0 => return at + 1,
            _ => (),
        }
    }
    tokens.len()
}

/// Whether what stands before `fn` ends with an attribute that makes it a test.
fn is_test(before: &[Token]) -> bool {
    let attribute = before.iter().rev().skip_while(|token| matches!(token, Token::Word(_)));
    let attribute: Vec<_> = attribute.take_while(|token| **token != Token::Sign('#')).collect();
    attribute.first() == Some(&&Token::Sign(']')) && attribute.contains(&&Token::Word("test".to_owned()))
}

fn tokens(source: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|rest| rest.trim_start_matches('#'));
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if raw.is_some_and(|raw| raw.starts_with('"'))
            && (rest.starts_with("r\"") || rest.starts_with("r#"))
        {
            let hashes = rest.len() - 1 - raw.unwrap_or_default().len();
            let inside = &rest[hashes + 2..];
            let end = inside.find(&format!("\"{}", "#".repeat(hashes))).expect("a raw text ends");
            found.push(Token::Text(inside[..end].to_owned()));
            rest = &inside[end + 1 + hashes..];
        } else if first == '"' {
            let (text, after) = text(&rest[1..]);
            found.push(Token::Text(text));
            rest = after;
        } else if first == '\'' {
            rest = after_quote(rest);
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = rest[..end].to_owned();
            found.push(if first.is_ascii_digit() { Token::Number(word) } else { Token::Word(word) });
            rest = &rest[end..];
        } else {
            if !first.is_whitespace() {
                found.push(Token::Sign(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// The text up to its quote, without escapes, and what is behind it.
fn text(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = source.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &source[at + 1..]),
            '\\' => match chars.next() {
                // A line that goes on.
                Some((_, '\n')) => {
                    let rest = chars.as_str();
                    let skip = rest.len() - rest.trim_start().len();
                    chars.by_ref().take(rest[..skip].chars().count()).for_each(drop);
                }
                Some((_, 'n')) => text.push('\n'),
                Some((_, other)) => text.push(other),
                None => (),
            },
            other => text.push(other),
        }
    }
    panic!("a text without an end: {text}")
}

/// Behind a character, or behind the quote of a lifetime.
fn after_quote(source: &str) -> &str {
    let inside = &source[1..];
    let mut chars = inside.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), Some(_)) => inside[2..].split_once('\'').map_or("", |(_, rest)| rest),
        (Some(c), Some('\'')) => &inside[c.len_utf8() + 1..],
        _ => inside,
    }
}
