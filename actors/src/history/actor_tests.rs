//! The actor: batches, bounds, answers.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use actix::prelude::*;
use futures::FutureExt;

use super::{
    BatchLimits, Change, History, HistoryConfig, HistoryError, HistoryLink, LoadMessages, LoadRooms,
    MessageKind, PageFrom, PageOfMessages, Persisted, Place, Retention, WaitingLimits, fixture::*,
};
use crate::metrics::Metrics;

/// All that waits is committed together, when the mailbox is empty.
const NEVER: BatchLimits = BatchLimits { changes: usize::MAX, time: Duration::MAX, pause: Duration::ZERO };

struct Fixture {
    link: HistoryLink,
    metrics: Arc<Metrics>,
    arbiter: ArbiterHandle,
}

impl Fixture {
    fn new(config: HistoryConfig) -> Self {
        let metrics = Arc::new(Metrics::default());
        let arbiter = Arbiter::new().handle();
        let link = History::start(config, metrics.clone(), &arbiter).unwrap();
        Self { link, metrics, arbiter }
    }

    /// Its commits are an hour apart.
    fn pausing() -> Self {
        let batch = BatchLimits { pause: Duration::from_secs(3600), ..NEVER };
        Self::new(HistoryConfig { batch, ..HistoryConfig::default() })
    }

    fn persist(&self, changes: Vec<Change>) -> Persisted {
        self.link.persist(changes).unwrap()
    }

    /// Holds the actor up until the returned sender is used or dropped; it has begun to wait when
    /// this returns.
    fn hold(&self) -> Sender<()> {
        let (held, begun) = self.queue_hold();
        begun.recv().unwrap();
        held
    }

    /// The same without waiting for it: the second half says when the actor is held up.
    fn queue_hold(&self) -> (Sender<()>, Receiver<()>) {
        let (release, released) = channel();
        let (begin, begun) = channel();
        self.link.addr.try_send(Hold { begin, released }).unwrap();
        (release, begun)
    }

    fn counted(&self) -> (u64, u64, u64, i64) {
        let Metrics { history_changes, history_commits, history_failures, history_waiting, .. } =
            &*self.metrics;
        (history_changes.get(), history_commits.get(), history_failures.get(), history_waiting.get())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.arbiter.stop();
    }
}

/// Blocks the actor, as a slow disk does.
#[derive(Message)]
#[rtype(result = "()")]
struct Hold {
    begin: Sender<()>,
    released: Receiver<()>,
}

impl Handler<Hold> for History {
    type Result = ();

    fn handle(&mut self, hold: Hold, _: &mut Context<Self>) {
        hold.begin.send(()).unwrap();
        // Released by a word, or by the end of the test.
        let _ = hold.released.recv();
    }
}

/// Lets the database grow by no more than so many pages, as a full disk does.
#[derive(Message)]
#[rtype(result = "()")]
struct FillDisk(u32);

impl Handler<FillDisk> for History {
    type Result = ();

    fn handle(&mut self, FillDisk(more): FillDisk, _: &mut Context<Self>) {
        self.limit_growth(more);
    }
}

/// Sees what a second program would see.
fn rows_outside(config: &HistoryConfig, sql: &str) -> i64 {
    let Place::File(path) = &config.place else { panic!("a history in a file") };
    rusqlite::Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[actix::test]
async fn a_thousand_callers_share_a_few_commits() {
    let folder = tempfile::tempdir().unwrap();
    let batch = BatchLimits { changes: 250, ..NEVER };
    let config = HistoryConfig { batch, ..in_folder(folder.path()) };
    let history = Fixture::new(config.clone());
    history.persist(vec![created("a")]).await.unwrap();
    let before = history.counted();
    let held = history.hold();
    let waiting: Vec<_> = (1..=1000).map(|seq| (seq, history.persist(vec![added("a", seq)]))).collect();
    assert_eq!(history.counted().3, 1000);
    drop(held);
    for (seq, persisted) in waiting {
        persisted.await.unwrap();
        let there = rows_outside(&config, &format!("SELECT count(*) FROM messages WHERE seq <= {seq}"));
        assert_eq!(there as u64, seq, "what is answered is committed");
    }
    assert_eq!(history.counted(), (before.0 + 1000, before.1 + 4, 0, 0));
}

#[actix::test]
async fn nobody_is_answered_before_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let config = HistoryConfig { batch: NEVER, ..in_folder(folder.path()) };
    let history = Fixture::new(config.clone());
    let first = history.hold();
    let mut persisted = history.persist(vec![created("a")]);
    let (second, begun) = history.queue_hold();
    drop(first);
    // The actor knows of the change, and its mailbox is not empty.
    begun.recv().unwrap();
    assert!((&mut persisted).now_or_never().is_none());
    assert_eq!(rows_outside(&config, "SELECT count(*) FROM rooms"), 0);
    drop(second);
    persisted.await.unwrap();
    assert_eq!(rows_outside(&config, "SELECT count(*) FROM rooms"), 1);
}

#[actix::test]
async fn a_busy_history_commits_when_it_is_time() {
    let history = Fixture::new(HistoryConfig {
        batch: BatchLimits { time: Duration::ZERO, ..NEVER },
        ..HistoryConfig::default()
    });
    let held = history.hold();
    let waiting: Vec<_> = ["a", "b", "c"].map(|name| history.persist(vec![created(name)])).into();
    drop(held);
    for persisted in waiting {
        persisted.await.unwrap();
    }
    assert_eq!(history.counted(), (3, 3, 0, 0));
}

/// The first is committed at once. What comes within the pause after it waits, and shares the next.
#[actix::test]
async fn commits_keep_their_distance() {
    let history = Fixture::pausing();
    history.persist(vec![created("a")]).await.unwrap();
    let mut waiting = Vec::new();
    for name in ["b", "c"] {
        waiting.push(history.persist(vec![created(name)]));
        // The mailbox has been empty behind it.
        for _ in 0..2 {
            drop(history.hold());
        }
    }
    assert_eq!(history.counted(), (1, 1, 0, 2));
    // Whoever looks does not wait.
    history.link.addr.send(LoadRooms).await.unwrap().unwrap();
    for persisted in waiting {
        persisted.await.unwrap();
    }
    assert_eq!(history.counted(), (3, 2, 0, 0));
}

#[actix::test]
async fn a_room_keeps_so_many_messages_and_so_many_bytes() {
    let history = Fixture::new(HistoryConfig {
        retention: Retention { messages: 3, bytes: 10 },
        ..HistoryConfig::default()
    });
    history.persist(vec![created("a"), created("b")]).await.unwrap();
    history.persist((1..=9).map(|seq| added("a", seq)).collect()).await.unwrap();
    let through = Change::MessagesTrimmed { room: room("a"), through_seq: 4 };
    history.persist(vec![through]).await.unwrap();
    assert_eq!(history.metrics.history_trimmed.get(), 4, "by the room itself");
    let seqs = async |name: &str| -> Vec<u64> {
        let messages = history.link.addr.send(LoadMessages { room: room(name) }).await.unwrap().unwrap();
        messages.iter().map(|message| message.seq).collect()
    };
    assert_eq!(seqs("a").await, [7, 8, 9]);
    assert_eq!(history.metrics.history_trimmed.get(), 6, "on loading");
    let six = |seq| message("b", seq, &seq.to_string(), MessageKind::Request, "漢漢");
    history.persist(vec![six(1), six(2)]).await.unwrap();
    assert_eq!(seqs("b").await, [2]);
    assert_eq!(history.metrics.history_trimmed.get(), 7);
}

#[actix::test]
async fn what_is_read_was_committed_before() {
    let folder = tempfile::tempdir().unwrap();
    let config = HistoryConfig { batch: NEVER, ..in_folder(folder.path()) };
    let history = Fixture::new(config);
    let held = history.hold();
    let persisted = [vec![created("a")], vec![added("a", 1)], vec![added("a", 2)]]
        .map(|changes| history.persist(changes));
    let rooms = history.link.addr.send(LoadRooms);
    let messages = history.link.addr.send(LoadMessages { room: room("a") });
    let page = PageOfMessages { room: room("a"), from: PageFrom::Before(2), limit: 9 };
    let page = history.link.addr.send(page);
    drop(held);
    assert_eq!(rooms.await.unwrap().unwrap().rooms[0].last_seq, 2);
    for persisted in persisted {
        assert_eq!(persisted.now_or_never(), Some(Ok(())), "the answer was there before the read");
    }
    assert_eq!(messages.await.unwrap().unwrap().len(), 2);
    assert_eq!(page.await.unwrap().unwrap().messages[0].seq, 1);
}

#[actix::test]
async fn a_refused_change_costs_nobody_else_anything() {
    let history = Fixture::new(HistoryConfig { batch: NEVER, ..HistoryConfig::default() });
    let held = history.hold();
    let first = history.persist(vec![created("a")]);
    let wrong = history.persist(vec![created("b"), created("a")]);
    let last = history.persist(vec![added("a", 1)]);
    drop(held);
    assert_eq!(wrong.await, Err(HistoryError::RoomExists { room: room("a") }));
    assert_eq!((first.await, last.await), (Ok(()), Ok(())));
    assert_eq!(history.counted(), (2, 1, 1, 0));
    let rooms = history.link.addr.send(LoadRooms).await.unwrap().unwrap().rooms;
    assert_eq!(rooms.len(), 1);
}

#[actix::test]
async fn a_full_disk_is_told_to_everybody_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let history = Fixture::new(HistoryConfig { batch: NEVER, ..in_folder(folder.path()) });
    history.persist(vec![created("a")]).await.unwrap();
    history.link.addr.send(FillDisk(2)).await.unwrap();
    let long = "x".repeat(4000);
    let held = history.hold();
    let waiting: Vec<_> = (1..=50)
        .map(|seq| history.persist(vec![message("a", seq, &seq.to_string(), MessageKind::Request, &long)]))
        .collect();
    drop(held);
    let mut stored = Vec::new();
    let mut failed = 0;
    for (seq, persisted) in (1..).zip(waiting) {
        match persisted.await {
            Ok(()) => stored.push(seq),
            Err(HistoryError::Failed { problem, .. }) => {
                assert!(problem.contains("full"), "{problem}");
                failed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(failed > 40, "{failed}");
    let there = history.link.addr.send(LoadMessages { room: room("a") }).await.unwrap().unwrap();
    let there: Vec<u64> = there.iter().map(|message| message.seq).collect();
    assert_eq!(there, stored, "an answer is true either way");
    history.link.addr.send(FillDisk(u32::MAX)).await.unwrap();
    history.persist(vec![added("a", 100)]).await.unwrap();
    assert_eq!(history.counted().3, 0, "nothing waits any more");
}

#[actix::test]
async fn changes_that_wait_are_bounded() {
    let one = added("a", 1).bytes();
    for (waiting, limit) in [
        (WaitingLimits { changes: 3, bytes: usize::MAX }, "history.max_waiting"),
        (WaitingLimits { changes: usize::MAX, bytes: 3 * one }, "history.max_waiting_bytes"),
    ] {
        let history = Fixture::new(HistoryConfig { waiting, ..HistoryConfig::default() });
        history.persist(vec![created("a")]).await.unwrap();
        let held = history.hold();
        let pair = history.persist(vec![added("a", 1), added("a", 2)]);
        let third = history.persist(vec![added("a", 3)]);
        assert_eq!(history.link.persist(vec![added("a", 4)]).unwrap_err(), HistoryError::Busy);
        assert_eq!(history.link.clone().persist(vec![added("a", 4)]).unwrap_err(), HistoryError::Busy);
        let counted = format!("newage_limit_reached_total{{limit=\"{limit}\"}} 2");
        assert!(history.metrics.text().contains(&counted), "{}", history.metrics.text());
        drop(held);
        assert_eq!((pair.await, third.await), (Ok(()), Ok(())));
        history.persist(vec![added("a", 4)]).await.unwrap();
        // What is larger than the bound is taken when nothing else waits.
        history.persist((5..20).map(|seq| added("a", seq)).collect()).await.unwrap();
        assert_eq!(history.counted().3, 0);
    }
}

#[actix::test]
async fn a_history_takes_changes_before_its_thread_has_begun() {
    let arbiter = Arbiter::new();
    let (release, released) = channel::<()>();
    arbiter.spawn_fn(move || {
        let _ = released.recv();
    });
    let metrics = Arc::new(Metrics::default());
    let link = History::start(HistoryConfig::default(), metrics, &arbiter.handle()).unwrap();
    let waiting: Vec<_> =
        (0..100).map(|number| link.persist(vec![created(&format!("room-{number}"))]).unwrap()).collect();
    drop(release);
    for persisted in waiting {
        persisted.await.unwrap();
    }
    arbiter.stop();
}

#[actix::test]
async fn changes_are_stored_when_nobody_waits_for_them() {
    let history = Fixture::new(HistoryConfig::default());
    let held = history.hold();
    drop(history.persist(vec![created("a")]));
    let empty = history.persist(Vec::new());
    drop(held);
    empty.await.unwrap();
    assert_eq!(history.link.addr.send(LoadRooms).await.unwrap().unwrap().rooms.len(), 1);
}

#[actix::test]
async fn closing_commits_what_was_sent_and_nothing_is_taken_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let config = HistoryConfig { batch: NEVER, ..in_folder(folder.path()) };
    let history = Fixture::new(config.clone());
    let held = history.hold();
    let before = history.persist(vec![created("a")]);
    let close = history.link.close();
    let mut close = std::pin::pin!(close);
    assert!((&mut close).now_or_never().is_none());
    let behind = history.persist(vec![created("b")]);
    drop(held);
    close.await;
    assert_eq!(before.await, Ok(()));
    assert_eq!(behind.await, Err(HistoryError::Closed));
    // The next one may have it at once.
    let next = Fixture::new(config);
    assert_eq!(next.link.addr.send(LoadRooms).await.unwrap().unwrap().rooms.len(), 1);
    while history.link.addr.connected() {
        tokio::task::yield_now().await;
    }
    assert_eq!(history.link.persist(vec![created("c")]).unwrap_err(), HistoryError::Closed);
    history.link.close().await;
}

#[actix::test]
async fn a_history_whose_thread_ends_stores_what_waits() {
    let history = Fixture::pausing();
    history.persist(vec![created("a")]).await.unwrap();
    let persisted = history.persist(vec![created("b")]);
    // Nobody has closed it.
    history.arbiter.stop();
    assert_eq!(persisted.await, Ok(()));
    let late = async { history.link.persist(vec![created("c")])?.await };
    assert_eq!(late.await, Err(HistoryError::Closed));
    assert_eq!(history.counted(), (2, 2, 0, 0));
}
