//! Files offered in conversations, and how they get from one device to another (`spec: file-transfer`).
//!
//! ```text
//!   offer       the commit that offers a file             name       file ids, what a channel asks for
//!   safe_name   names to save under                       digest     SHA3-512, piece by piece
//!   room        whether there is room on the disk         checked    hashes of our own files, remembered
//!
//!   wanted: which device is asked                receiving: what it sends
//!     ask ──► declined, silent: the next           bytes ──► hash, count ──► end: complete, to be
//!      └────► open ──► receiving ──► done                                    resumed, or worthless
//!              └─ incomplete: the next             sending: what is asked of us
//!                                                  range ──► blocks, a megabyte at a time
//! ```
//!
//! The bytes of a file travel on a channel of their own, without any framing, from an offset to the
//! end. Whoever has a file may serve it; what comes is believed only when its hash is that of the
//! commit.

mod checked;
mod digest;
mod name;
mod offer;
mod receiving;
mod room;
mod safe_name;
mod sending;
mod wanted;

#[cfg(test)]
mod fuzz_tests;

pub use checked::{CheckedFiles, FileStamp, MAX_CHECKED};
pub use digest::{FileHash, FileHashError, FileHasher};
pub use name::{ByteRange, FileId, FileIdError, FileRequest, ProfileStamp, TransferName, TransferNameError};
pub use offer::{MAX_SIZE, MAX_TID, OfferError, OfferedFile, offer};
pub use receiving::{Flaw, MAX_RESUME, Prefix, Receiving, TooLong, Verdict, resume_at};
pub use room::{MAX_UNKNOWN, NoRoom, RESERVE, Room};
pub use safe_name::{MAX_SAFE_NAME, numbered, safe_name};
pub use sending::{MAX_BLOCK, MAX_READ, MAX_SENDING, MAX_SENDING_EACH, Sending, SendingPlaces};
pub use wanted::{Chance, FLOOR, MAX_HOLDERS, STALL, Wanted};
