//! When a connection's recording is written.

use lunforge_core::shard::ShardCx;

use super::{Connection, Phase};
use crate::io::login::Progress;
use crate::io::recorder::Ask;
use crate::record::Incident;

impl Connection {
    /// A step of the login used these bytes; what was answered begins at `before`.
    pub(super) fn record_login(
        &mut self,
        cx: &ShardCx<'_>,
        request: &[u8],
        before: usize,
        progress: &Progress,
    ) {
        let failed = matches!(progress, Progress::Failed);
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        let reply = self.out.get(before..).unwrap_or_default();
        recorder.login_step(cx.now(), request, reply, !failed);
        if let (true, Some(tap)) = (failed, recorder.login_tap()) {
            tap.note(Incident::LoginFailed);
        }
    }

    pub(super) fn record_reply(&mut self, cx: &ShardCx<'_>, before: usize) {
        if let Some(recorder) = &mut self.recorder {
            let reply = self.out.get(before..).unwrap_or_default();
            recorder.login_step(cx.now(), &[], reply, true);
        }
    }

    /// Writes the recording if something has happened that is worth it.
    pub(super) fn record_incident(&mut self, cx: &ShardCx<'_>) -> bool {
        let Some(recorder) = &mut self.recorder else {
            return false;
        };
        let tap = match &mut self.phase {
            Phase::Full(full) | Phase::Closing(full) => full.tap(),
            _ => None,
        };
        recorder.incident(tap, cx.now())
    }

    /// The connection ends: writes the recording if that was untimely, or if all are wanted.
    pub(super) fn record_end(&mut self, cx: &ShardCx<'_>) {
        let (Some(recorder), Phase::Full(full)) = (&mut self.recorder, &mut self.phase) else {
            self.record_incident(cx);
            return;
        };
        let under_way = full.under_way();
        if under_way > 0
            && !cx.stopping()
            && let Some(tap) = full.tap()
        {
            tap.note(Incident::Lost(under_way));
        }
        if !recorder.incident(full.tap(), cx.now()) {
            recorder.ended(full.tap(), cx.now());
        }
    }

    pub(super) fn asked(&mut self, cx: &ShardCx<'_>, ask: Ask) {
        if let (Some(recorder), Phase::Full(full) | Phase::Closing(full)) =
            (&mut self.recorder, &mut self.phase)
        {
            recorder.asked(full.tap(), cx.now(), ask);
        }
    }
}
