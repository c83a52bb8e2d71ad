//! A storage node from outside: its calls, and its talk with the master.

mod harness;
mod lane;
mod registration;
mod rpc;
mod transport;
