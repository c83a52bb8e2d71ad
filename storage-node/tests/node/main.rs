//! A storage node from outside: its calls, and its talk with the master.

mod harness;
mod registration;
mod rpc;
