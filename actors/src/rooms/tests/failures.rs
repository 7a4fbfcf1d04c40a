//! What is kept and what is said to be there agree.

use super::*;
use crate::{
    history::LoadRooms,
    lobby::{Assign, ExtensionsChanged, ListAssignments, Policy, SetPolicy},
    rooms::Present,
};

impl Fixture {
    async fn assign(&self, room: &str, extensions: &[&str]) {
        let extensions = extensions.iter().map(|id| ClientId::new(*id).unwrap()).collect();
        self.lobby.send(Assign { room: RoomName::new(room).unwrap(), extensions }).await.unwrap().unwrap();
    }

    async fn assigned(&self, room: &str) -> Vec<String> {
        let all = self.lobby.send(ListAssignments(None)).await.unwrap();
        let of_room = all.into_iter().find(|(name, _)| name.as_str() == room).expect("it is listed").1;
        of_room.into_iter().map(|id| id.to_string()).collect()
    }

    /// What is kept that belongs to no room but by its name.
    async fn values(&self) -> Vec<String> {
        let contents = self.history.addr.send(LoadRooms).await.unwrap().unwrap();
        contents.values.into_keys().filter(|key| key != "connection_policy").collect()
    }

    async fn until_listed(&self, room: &str, listed: bool) {
        while self.listed().await.contains(&room.to_owned()) != listed {
            tokio::task::yield_now().await;
        }
    }
}

/// Somebody else's room of that name had the extension that was meant for another one.
#[actix::test]
async fn what_was_assigned_to_a_room_by_hand_goes_with_it() {
    let f = Fixture::new(8, &["a", "monitor"]).await;
    f.lobby.send(ExtensionsChanged(vec![ClientId::new(EXTENSION).unwrap()])).await.unwrap();
    assert!(f.lobby.send(SetPolicy(Policy::Manual)).await.unwrap());
    // By a word.
    f.create("monitor", "tea").await.unwrap();
    f.assign("tea", &[EXTENSION]).await;
    assert_eq!(f.assigned("tea").await, [EXTENSION]);
    f.run("monitor", "tea", Command::Delete).await.unwrap();
    assert_eq!(f.values().await, [""; 0], "nothing is kept of it");
    f.create(EXTENSION, "tea").await.unwrap();
    assert_eq!(f.assigned("tea").await, [""; 0]);
    // Because its last member has gone.
    f.run("monitor", "tea", add("a")).await.unwrap();
    f.assign("tea", &[EXTENSION]).await;
    // A room that is away comes back as it was.
    f.assign("a", &[EXTENSION]).await;
    f.goes("a").await;
    f.until_listed("tea", false).await;
    assert_eq!(f.values().await, ["manual_assignments/a"]);
    f.create("monitor", "tea").await.unwrap();
    assert_eq!(f.assigned("tea").await, [""; 0]);
    f.comes("a").await;
    assert_eq!(f.assigned("a").await, [EXTENSION]);
    // That of one instance of several is gone for good, whether anybody was in it or not.
    for (instance, used) in [("a-tab", false), ("a-other", true)] {
        let (room, now) = (RoomName::new(instance).unwrap(), Listed::Here(vec![id(instance)]));
        f.lobby.send(RoomListed { room, now }).await.unwrap();
        for supervisor in f.rooms.all() {
            let present = Present {
                identity: id(instance),
                client: ClientId::new("a").unwrap(),
                client_type: "test".into(),
                desc: None,
                sockets: 1,
                lines: Arc::from([]),
            };
            supervisor.send(present).await.unwrap();
        }
        f.assign(instance, &[EXTENSION]).await;
        if used {
            f.run(instance, instance, Command::IsMember).await.unwrap();
        }
        f.goes(instance).await;
        f.until_listed(instance, false).await;
        assert_eq!(f.values().await, ["manual_assignments/a"], "{instance}");
    }
}
