//! Placeholder of this room.
