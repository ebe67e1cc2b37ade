//! Placeholder, replaced as the parts land.
