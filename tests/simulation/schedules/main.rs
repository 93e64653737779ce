//! A few thousand schedules, the planted bugs, and what was once wrong.
fn main(){}
