//! Desired objects of a listener, one file each. Pure: values in, objects out. Objects are server-side applied, so they hold
//! what we mean and nothing else.

pub mod certificates;
pub mod config;
pub mod issued;
pub mod network;
pub mod objects;
pub mod room;
pub mod scheduling;
pub mod share;
