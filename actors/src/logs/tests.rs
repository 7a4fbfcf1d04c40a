use super::*;
use std::fs;

fn write(path: &Path, entries: std::ops::Range<usize>) {
    let text: String =
        entries.map(|n| format!("2026-01-31 23:59:59 [info] [llm-server]: entry {n}\n")).collect();
    fs::write(path, text).unwrap();
}

fn numbers(page: &LogPage) -> Vec<usize> {
    page.lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn full_files_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(LogFile::Combined.name());
    assert_eq!(read(&path, LevelFilter::All, 1, 10).unwrap_err().kind(), io::ErrorKind::NotFound);
    write(&old_file(&path, 2), 0..3);
    write(&old_file(&path, 1), 3..6);
    write(&path, 6..8);
    let page = read(&path, LevelFilter::All, 1, 100).unwrap();
    assert_eq!((numbers(&page), page.total), ((0..8).collect(), 8));
    assert_eq!(numbers(&read(&path, LevelFilter::All, 2, 3).unwrap()), [3, 4, 5]);
    let beyond = read(&path, LevelFilter::All, 4, 3).unwrap();
    assert_eq!(beyond, LogPage { lines: Vec::new(), total: 8 });
    let beyond = read(&path, LevelFilter::All, u64::MAX, 100).unwrap();
    assert_eq!(beyond, LogPage { lines: Vec::new(), total: 8 });
}

#[test]
fn a_file_that_is_renamed_while_they_are_opened_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(LogFile::Combined.name());
    write(&path, 0..2);
    // As a rotation leaves it for whoever has opened the first name already.
    fs::hard_link(&path, old_file(&path, 1)).unwrap();
    let page = read(&path, LevelFilter::All, 1, 10).unwrap();
    assert_eq!(numbers(&page), [0, 1]);
}

#[test]
fn levels_of_the_files() {
    use log::Level::{Debug, Error, Info, Trace, Warn};
    for (file, levels) in [
        (LogFile::Combined, &[Error, Warn, Info, Debug, Trace][..]),
        (LogFile::Info, &[Error, Warn, Info][..]),
        (LogFile::Warn, &[Error, Warn][..]),
        (LogFile::Error, &[Error][..]),
    ] {
        for level in [Error, Warn, Info, Debug, Trace] {
            assert_eq!(file.takes(level), levels.contains(&level), "{file:?} {level}");
        }
        assert_eq!(LogFile::from_name(file.name()), Some(file));
    }
    for other in ["", "combined", "../combined.log", "combined.log.1", "previous.log"] {
        assert_eq!(LogFile::from_name(other), None);
    }
}

#[actix::test]
async fn so_many_are_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(FOLDER)).unwrap();
    write(&folder.path().join(FOLDER).join("info.log"), 0..1);
    let metrics = Arc::<Metrics>::default();
    let logs = Logs::new(folder.path(), 1, metrics.clone());
    let reads = logs.reads.clone();
    let logs = logs.start();
    let question = ReadLog { file: LogFile::Info, filter: LevelFilter::All, page: 1, page_size: 1 };

    let held = reads.try_acquire().unwrap();
    assert_eq!(logs.send(question).await.unwrap(), Err(ReadLogError::Busy));
    assert!(metrics.text().contains("limit=\"log.max_reads\"} 1"), "{}", metrics.text());
    drop(held);
    assert_eq!(logs.send(question).await.unwrap().unwrap().total, 1);
    let missing = ReadLog { file: LogFile::Warn, ..question };
    assert_eq!(logs.send(missing).await.unwrap(), Err(ReadLogError::Missing));
    let folder = folder.path().join(FOLDER).join("error.log");
    fs::create_dir(folder).unwrap();
    let unreadable = logs.send(ReadLog { file: LogFile::Error, ..question }).await.unwrap();
    assert_eq!(unreadable, Err(ReadLogError::Io(io::ErrorKind::IsADirectory)));
}
