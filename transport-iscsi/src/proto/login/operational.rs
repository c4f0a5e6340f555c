//! LoginOperationalNegotiation (RFC 7143 §6.3.3).

use super::machine::Leading;
use super::{LoginFailure, LoginRequest};
use crate::proto::keys::Stage;
use crate::proto::text::{Pair, TextWriter};

/// Whether the stage ends with this exchange.
pub(super) enum Step {
    Stay,
    Leave,
}

/// Answers one request of the stage.
pub(super) fn exchange(
    leading: &mut Leading,
    pairs: &[Pair<'_>],
    request: &LoginRequest<'_>,
    out: &mut TextWriter,
) -> Result<Step, LoginFailure> {
    leading.tell_tag(out)?;
    leading.negotiation.answer(pairs, out)?;
    leading.negotiation.declare(out)?;
    if let Some(alias) = leading
        .target
        .alias
        .as_deref()
        .filter(|_| !leading.alias_told)
    {
        out.push("TargetAlias", alias)?;
    }
    leading.alias_told = true;
    if !request.transit || request.nsg != Stage::FullFeature.number() {
        return Ok(Step::Stay);
    }
    // An offer of ours needs the initiator's answer before the stage can end.
    Ok(if leading.negotiation.offer_missing(out)? {
        Step::Stay
    } else {
        Step::Leave
    })
}
