//! Text requests in full feature phase: discovery and renegotiation (RFC 7143 11.10).

use std::time::Instant;

use super::FullFeature;
use crate::proto::discovery::{self, DiscoveryOptions, DiscoveryScope};
use crate::proto::keys;
use crate::proto::text;

impl FullFeature {
    pub(super) fn text(&mut self, bytes: &[u8], now: Instant) {
        match self.text_answer(bytes) {
            Ok(answer) => self.wire.answer_text(&mut self.session, answer),
            Err(error) => {
                if let Some(left_out) = self.service.logs.text.say(now) {
                    tracing::debug!(%error, left_out, "text request refused");
                }
                self.wire.reject_text(&mut self.session);
            }
        }
    }

    fn text_answer(&self, bytes: &[u8]) -> Result<Vec<u8>, text::TextError> {
        let pairs = text::parse(bytes)?;
        let mut asked = keys::full_feature(&pairs, discovery::MAX_ANSWER)?;
        if let Some(wanted) = asked.send_targets {
            let scope = match &self.target {
                Some(target) => DiscoveryScope::Normal { target },
                None => DiscoveryScope::Discovery,
            };
            let one = match scope {
                DiscoveryScope::Normal { target } => Some(target),
                DiscoveryScope::Discovery => (wanted != "All").then_some(wanted),
            };
            let visible = self
                .service
                .visible(&self.initiator, self.local, self.proved, one);
            discovery::send_targets(
                wanted,
                scope,
                &visible,
                DiscoveryOptions::default(),
                &mut asked.out,
            )?;
        }
        Ok(asked.out.finish())
    }
}
