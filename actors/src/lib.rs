//! The broker's actors (DESIGN §5).
//!
//! ```text
//!                     ┌──────────┐  who is there   ┌────────┐
//!   session ────────► │ registry │ ──────────────► │ router │ ◄── session (LLM_REQUEST)
//!      │  may I join? └──────────┘                 └────────┘
//!      ├────────────► trust                             │ Ask, Close, Peers
//!      │                                                ▼
//!      └───────────────── Deliver (text) ◄──────── target: an extension's session, or the demo
//! ```
//!
//! Reading order: [`outbox`], [`session`], [`registry`], [`llm_router`], [`stream`], [`namespaces`]
//! (what each namespace does with each event), [`trust`], [`functions`], [`history`], [`logs`], [`demo`].

pub mod outbox;
pub mod session;
pub mod sessions;

pub mod ids;
pub mod protocol;

pub mod history;
pub mod llm_router;
pub mod lobby;
pub mod registry;
pub mod rooms;
pub mod stream;
pub mod target;

pub mod namespaces;

pub mod functions;
pub mod trust;

pub mod logs;

pub mod demo;
pub mod launch;
pub mod seat;

mod emit;
mod maps;
pub mod metrics;
mod rising_map;
