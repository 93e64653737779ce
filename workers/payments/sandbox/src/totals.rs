//! Counts and sums for audits.

use serde::Serialize;

use crate::charge::{Charge, Standing, Status};

/// What happened in one currency since the first entry. A charge that was authorised stays counted
/// as such when it is voided or captured. Sums are wider than amounts, so they cannot overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) charges: u64,
    pub(crate) declined_count: u64,
    pub(crate) voided_count: u64,
    pub(crate) authorised_count: u64,
    pub(crate) authorised_minor: i128,
    pub(crate) captured_count: u64,
    pub(crate) captured_minor: i128,
    pub(crate) refunded_count: u64,
    pub(crate) refunded_minor: i128,
}

impl Totals {
    /// Counts one entry: the charge stood so `before` (`None`: it is new), and now stands as it is.
    pub(crate) fn count(&mut self, before: Option<Standing>, charge: &Charge) {
        let now = charge.standing;
        let captured_before_minor = before.map_or(0, |before| before.captured_minor);
        let refunded_before_minor = before.map_or(0, |before| before.refunded_minor);
        let became =
            |status| now.status == status && before.is_none_or(|before| before.status != status);

        self.charges += u64::from(before.is_none());
        self.declined_count += u64::from(became(Status::Declined));
        self.voided_count += u64::from(became(Status::Voided));
        if became(Status::Authorised) {
            self.authorised_count += 1;
            self.authorised_minor += i128::from(charge.amount_minor);
        }
        self.captured_count += u64::from(captured_before_minor == 0 && now.captured_minor > 0);
        self.captured_minor += i128::from(now.captured_minor - captured_before_minor);
        self.refunded_count += u64::from(refunded_before_minor == 0 && now.refunded_minor > 0);
        self.refunded_minor += i128::from(now.refunded_minor - refunded_before_minor);
    }
}
