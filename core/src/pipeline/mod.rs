//! What happens to a command, in order.
//!
//! | # | stage | clause | ends the command with |
//! |---|---|---|---|
//! | 1 | LUN map | SAM-5 4.7, SPC-4 6.6.2 | LOGICAL UNIT NOT SUPPORTED; INQUIRY, REPORT LUNS, REQUEST SENSE are answered |
//! | 1a | ACA of the task set | SAM-5 5.9 | ACA ACTIVE, BUSY |
//! | 2 | parse | SPC-4 4.2 | INVALID COMMAND OPERATION CODE, INVALID FIELD IN CDB |
//! | 3 | unit attention | SAM-5 5.14 | UNIT ATTENTION, and that clears it; some commands pass |
//! | 4 | access: ALUA, reservations | SPC-4 5.15, 5.13 | NOT READY 04/0A-0C, RESERVATION CONFLICT |
//! | 5 | prepare | the handler's or a service's | out of range, invalid field, write protected |
//! | 6 | resources | SAM-5 5.3.1 | TASK SET FULL |
//! | 7 | task set | SAM-5 8.6 | waits for its turn |
//! | 8 | Data-Out | | waits for the transport |
//! | 9 | ACA, gate, access once more | | waits while an ACA lasts, or the unit or its rights are being changed; RESERVATION CONFLICT |
//! | 10 | execute | | waits for the handler, if it defers |
//! | 11 | respond | SAM-5 5.9, SPC-4 7.5.8 | [`Event::Finished`](crate::Event::Finished); waits while an ACA lasts; ACA, QERR and UA_INTLCK_CTRL have their effect |
//!
//! Unit attention comes before reservation conflict as SAM-5 5.14.2 lists the exceptions by command, not by
//! reservation; ACA ACTIVE comes before both (SAM-5 5.3.3). Stages 1 to 6 run when the command arrives and move no data,
//! so what is wrong is said before an initiator sends a byte. Access is looked at again inside the gate: a right that
//! was taken away in between is gone.

pub(crate) mod aca;
mod access;
mod admit;
mod finish;
mod inner;
mod overdue;
mod run;

pub(crate) use run::command_and_unit;

pub use crate::command::{Begun, CommandRequest, Finished};
pub(crate) use inner::InnerRequest;
