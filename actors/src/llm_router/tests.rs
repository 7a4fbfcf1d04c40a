//! The book against a simple model, and each rule of spec §5.1, §5.4 and §5.9 by itself. Instants are
//! given, so deadlines pass without waiting; the recipients are real actors.

mod fixture;
mod instances;
mod model;
mod newcomers;
mod rules;
mod sockets;
