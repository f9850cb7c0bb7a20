//! The log joint and the guide programs, from the checked model.

pub mod joint;
