//! The contract as files: what is said today, and what was ever said, can be read by everybody.

mod files;
mod samples;
mod schemas;
mod subjects;
