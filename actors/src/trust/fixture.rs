//! A server root in a temporary folder, for tests.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::config::TrustConfig;
use super::messages::{Caller, ClientClass};
use super::peer::Peer;
use super::store::TrustStore;
use crate::ids::ClientId;

pub(crate) const EXTENSION: &str = "SillyTavern-8000";

pub(crate) fn id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

pub(crate) fn loopback() -> Peer {
    Peer { addr: IpAddr::from([127, 0, 0, 1]), on_loopback: true, local: true }
}

pub(crate) fn lan() -> Peer {
    Peer { addr: IpAddr::from([192, 168, 1, 7]), on_loopback: false, local: true }
}

pub(crate) fn public(last: u8) -> Peer {
    Peer { addr: IpAddr::from([203, 0, 113, last]), on_loopback: false, local: false }
}

pub(crate) fn extension() -> Caller {
    caller(EXTENSION, false)
}

pub(crate) fn admin() -> Caller {
    caller("monitor", true)
}

pub(crate) fn client() -> Caller {
    caller("app", false)
}

pub(crate) fn caller(name: &str, admin: bool) -> Caller {
    let client_id = id(name);
    let class = if client_id.is_extension() { ClientClass::Extension } else { ClientClass::Client };
    Caller { client_id, class, admin, peer: loopback() }
}

/// The root of a broker with an extension, a client and the monitor; passwords hash fast.
pub(crate) struct Root {
    pub(crate) dir: TempDir,
    pub(crate) config: TrustConfig,
}

impl Root {
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = TrustConfig { bcrypt_cost: 4, ..TrustConfig::new(dir.path()) };
        Self { dir, config }
    }

    pub(crate) fn new() -> Self {
        let root = Self::empty();
        root.write(
            "settings/SillyTavern-8000-settings.json",
            &format!(
                r#"{{"clientId":"{EXTENSION}","Remember_me":true,"isTrust":true,"sillyTavernPassWord":"{}"}}"#,
                bcrypt::hash("secret", 4).unwrap()
            ),
        );
        root.write("settings/app.json", r#"{"clientId":"app","isTrust":true,"theme":"dark"}"#);
        root.write("settings/monitor.json", r#"{"clientId":"monitor","isTrust":true}"#);
        root
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    pub(crate) fn open(&self) -> Arc<TrustStore> {
        Arc::new(TrustStore::open(self.config.clone(), Arc::default()).unwrap())
    }
}
