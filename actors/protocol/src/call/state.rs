//! The states of a call that clients are shown (`spec: calls 9`).

/// How far the connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// There is none.
    #[default]
    Disconnected,
    /// Devices are looked for.
    Trying,
    /// A device has the call.
    Progressing,
    /// It rings.
    Ringing,
    /// It is answered.
    Connected,
}

/// What the call is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallState {
    /// Nothing yet.
    #[default]
    Inactive,
    /// It is under way.
    Active,
    /// It is on hold.
    Hold,
    /// We are busy.
    Busy,
    /// They are busy.
    PeerBusy,
    /// Something went wrong.
    Failed,
    /// It is over.
    Over,
}

impl CallState {
    /// Whether `next` may follow.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use CallState::{Active, Busy, Failed, Hold, Inactive, Over, PeerBusy};
        match (self, next) {
            (Over, _) => false,
            (_, Over) => true,
            (Inactive, Active | Busy | PeerBusy | Failed) => true,
            (Active, Hold | Busy | PeerBusy | Failed) => true,
            (Hold, Active | Failed) => true,
            (Busy, Failed) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_so_and_everything_may_end() {
        use CallState::{Active, Busy, Failed, Hold, Inactive, Over, PeerBusy};
        let all = [Inactive, Active, Hold, Busy, PeerBusy, Failed, Over];
        for state in all {
            assert_eq!(state.may_become(Over), state != Over);
            assert!(!Over.may_become(state) && !state.may_become(Inactive));
        }
        assert!(Hold.may_become(Active) && !Hold.may_become(Busy) && !Inactive.may_become(Hold));
        assert!(!Failed.may_become(Active) && !PeerBusy.may_become(Failed));
    }
}
