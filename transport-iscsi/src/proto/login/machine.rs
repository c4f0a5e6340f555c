//! The machine: checks of the header, the first request, and the way through the stages.

use std::sync::Arc;

use super::operational::{self, Step};
use super::policy::{
    Admission, AuthConfig, LoginPolicy, SessionLookup, SessionQuery, TargetLogin, TargetLookup,
};
use super::security::Auth;
use super::{
    LoggedIn, LoginFailure, LoginNext, LoginReply, LoginRequest, LoginStatus, LoginStep,
    MAX_EXCHANGES, MAX_NAME_LEN, SessionType,
};
use crate::proto::chap::Random;
use crate::proto::keys::{Kind, Negotiation, Stage};
use crate::proto::text::{MAX_LOGIN_TEXT, Pair, TextAccumulator, TextWriter, parse};

/// A login that has not ended.
pub struct LoginMachine {
    policy: Arc<dyn LoginPolicy>,
    random: Box<dyn Random + Send>,
    text: TextAccumulator,
    exchanges: u32,
    header: Option<Header>,
    state: State,
}

impl std::fmt::Debug for LoginMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginMachine")
            .field("exchanges", &self.exchanges)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What stays the same in all requests of a login (RFC 7143 §11.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    isid: [u8; 6],
    tsih: u16,
    cid: u16,
}

#[derive(Debug)]
enum State {
    /// The first request, or a continued part of it, is awaited.
    First,
    Security(Box<Leading>, Auth),
    Operational(Box<Leading>),
}

/// What the first request told.
#[derive(Debug)]
pub(super) struct Leading {
    pub(super) session_type: SessionType,
    pub(super) initiator: String,
    pub(super) initiator_alias: Option<String>,
    pub(super) target_name: Option<String>,
    pub(super) target: TargetLogin,
    pub(super) negotiation: Negotiation,
    pub(super) auth_user: Option<String>,
    /// TargetPortalGroupTag has been told.
    pub(super) tag_told: bool,
    /// TargetAlias has been told.
    pub(super) alias_told: bool,
}

impl LoginMachine {
    /// A login of which nothing has been received.
    #[must_use]
    pub fn new(policy: Arc<dyn LoginPolicy>, random: Box<dyn Random + Send>) -> Self {
        Self {
            policy,
            random,
            text: TextAccumulator::new(MAX_LOGIN_TEXT),
            exchanges: 0,
            header: None,
            state: State::First,
        }
    }

    /// Takes one Login Request.
    #[must_use]
    pub fn handle(self, request: &LoginRequest<'_>) -> LoginStep {
        let policy = Arc::clone(&self.policy);
        let mut initiator = self.initiator().to_owned();
        self.advance(request, &mut initiator)
            .unwrap_or_else(|failure| {
                policy.login_failed(&initiator, &failure);
                LoginStep {
                    reply: LoginReply::failure(&failure, request),
                    next: LoginNext::Failed { failure, initiator },
                }
            })
    }

    /// InitiatorName, or nothing as long as it is not known.
    #[must_use]
    pub fn initiator(&self) -> &str {
        match &self.state {
            State::First => "",
            State::Security(leading, _) | State::Operational(leading) => &leading.initiator,
        }
    }

    /// The user (CHAP_N) whom the initiator has proved to be, if it has.
    #[must_use]
    pub fn auth_user(&self) -> Option<&str> {
        match &self.state {
            State::First => None,
            State::Security(leading, _) | State::Operational(leading) => {
                leading.auth_user.as_deref()
            }
        }
    }

    fn advance(
        mut self,
        request: &LoginRequest<'_>,
        initiator: &mut String,
    ) -> Result<LoginStep, LoginFailure> {
        self.exchanges += 1;
        if self.exchanges > MAX_EXCHANGES {
            return Err(LoginFailure::TooManyExchanges);
        }
        let stage = self.check_header(request)?;
        let Some(text) = self.text.push(request.data, request.cont)? else {
            let reply = LoginReply::success(request, false, TextWriter::new(0));
            return Ok(LoginStep {
                reply,
                next: LoginNext::Continue(Box::new(self)),
            });
        };
        let pairs = parse(&text)?;
        match std::mem::replace(&mut self.state, State::First) {
            State::First => {
                let leading = Box::new(self.first(stage, &pairs, request, initiator)?);
                if stage == Stage::Security {
                    self.security(leading, Auth::Start, &pairs, request)
                } else if leading.target.auth.is_required() {
                    // The initiator skipped the stage in which it would have had to prove itself.
                    Err(LoginFailure::AuthRequired)
                } else {
                    self.operational(leading, &pairs, request)
                }
            }
            State::Security(mut leading, auth) => {
                leading.admit(stage, &pairs)?;
                self.security(leading, auth, &pairs, request)
            }
            State::Operational(mut leading) => {
                leading.admit(stage, &pairs)?;
                self.operational(leading, &pairs, request)
            }
        }
    }

    /// Version, flags, stages and the fields that must not change.
    fn check_header(&mut self, request: &LoginRequest<'_>) -> Result<Stage, LoginFailure> {
        if request.version_min > 0 {
            return Err(LoginFailure::UnsupportedVersion);
        }
        if request.transit && request.cont {
            return Err(LoginFailure::TransitWithContinue);
        }
        let stage = Stage::from_number(request.csg).ok_or(LoginFailure::BadStage)?;
        let right = match &self.state {
            State::First => stage != Stage::FullFeature,
            State::Security(..) => stage == Stage::Security,
            State::Operational(_) => stage == Stage::Operational,
        };
        let forward =
            Stage::from_number(request.nsg).is_some_and(|next| next.number() > request.csg);
        if !right || (request.transit && !forward) {
            return Err(LoginFailure::BadStage);
        }
        let header = Header {
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
        };
        if *self.header.get_or_insert(header) != header {
            return Err(LoginFailure::HeaderChanged);
        }
        Ok(stage)
    }

    /// The checks of the first request, in the order of RFC 7143 §6.3.1 and §11.13.5.
    fn first(
        &self,
        stage: Stage,
        pairs: &[Pair<'_>],
        request: &LoginRequest<'_>,
        initiator_out: &mut String,
    ) -> Result<Leading, LoginFailure> {
        match self.policy.admission() {
            Admission::Accept => {}
            Admission::ServiceUnavailable => return Err(LoginFailure::ServiceUnavailable),
            Admission::OutOfResources => return Err(LoginFailure::OutOfResources),
        }
        let value = |key: &str| {
            pairs
                .iter()
                .find(|pair| pair.key == key)
                .map(|pair| pair.value)
        };
        let initiator = value("InitiatorName").ok_or(LoginFailure::Missing("InitiatorName"))?;
        check_name("InitiatorName", initiator)?;
        initiator_out.push_str(initiator);
        let session_type = match value("SessionType") {
            None | Some("Normal") => SessionType::Normal,
            Some("Discovery") => SessionType::Discovery,
            Some(_) => return Err(LoginFailure::BadSessionType),
        };
        let (target_name, target) = match session_type {
            SessionType::Discovery => (None, self.discovery(initiator)),
            SessionType::Normal => {
                let name = value("TargetName").ok_or(LoginFailure::Missing("TargetName"))?;
                check_name("TargetName", name)?;
                (Some(name.to_owned()), self.find_target(initiator, name)?)
            }
        };
        let discovery = session_type == SessionType::Discovery;
        let mut leading = Leading {
            session_type,
            initiator: initiator.to_owned(),
            initiator_alias: None,
            target_name,
            negotiation: Negotiation::new(target.params.clone(), discovery),
            target,
            auth_user: None,
            tag_told: discovery,
            alias_told: discovery,
        };
        // Where authentication is demanded, a stranger learns of rights and sessions nothing.
        if !leading.auth().is_required() {
            self.check_rights(&leading, request)?;
        }
        leading.admit(stage, pairs)?;
        Ok(leading)
    }

    fn discovery(&self, initiator: &str) -> TargetLogin {
        TargetLogin {
            params: self.policy.discovery_params(),
            auth: self.policy.discovery_auth(initiator),
            ..TargetLogin::default()
        }
    }

    fn find_target(&self, initiator: &str, name: &str) -> Result<TargetLogin, LoginFailure> {
        match self.policy.target(initiator, name) {
            TargetLookup::Found(target) => Ok(*target),
            TargetLookup::NotFound => Err(LoginFailure::NotFound),
            TargetLookup::Forbidden => Err(LoginFailure::Forbidden),
            TargetLookup::Moved { address, permanent } => {
                Err(LoginFailure::Moved { address, permanent })
            }
            TargetLookup::Refused(status) => Err(LoginFailure::Refused(status)),
        }
    }

    /// Whether this initiator may have this session. Asked when there is nothing left to prove.
    fn check_rights(
        &self,
        leading: &Leading,
        request: &LoginRequest<'_>,
    ) -> Result<(), LoginFailure> {
        if let Some(refusal) = &leading.target.refusal {
            return Err(refusal.clone());
        }
        if request.tsih == 0 {
            return Ok(());
        }
        let query = SessionQuery {
            initiator: &leading.initiator,
            target: leading.target_name.as_deref(),
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
        };
        Err(match self.policy.session(&query) {
            SessionLookup::Reinstate => return Ok(()),
            SessionLookup::Unknown => LoginFailure::UnknownSession,
            SessionLookup::TooManyConnections => LoginFailure::TooManyConnections,
            SessionLookup::CannotInclude => LoginFailure::CannotInclude,
        })
    }

    fn security(
        mut self,
        mut leading: Box<Leading>,
        auth: Auth,
        pairs: &[Pair<'_>],
        request: &LoginRequest<'_>,
    ) -> Result<LoginStep, LoginFailure> {
        let mut out = TextWriter::new(MAX_LOGIN_TEXT);
        leading.tell_tag(&mut out)?;
        let auth = auth.advance(&mut leading, pairs, &mut *self.random, &mut out)?;
        leading.negotiation.answer(pairs, &mut out)?;
        if !request.transit || !auth.may_leave(&leading.target.auth, request.transit)? {
            self.state = State::Security(leading, auth);
            return Ok(self.stay(request, out));
        }
        if leading.auth().is_required() {
            self.check_rights(&leading, request)?;
        }
        self.leave(leading, request, out)
    }

    fn operational(
        self,
        mut leading: Box<Leading>,
        pairs: &[Pair<'_>],
        request: &LoginRequest<'_>,
    ) -> Result<LoginStep, LoginFailure> {
        let mut out = TextWriter::new(MAX_LOGIN_TEXT);
        let step = operational::exchange(&mut leading, pairs, request, &mut out)?;
        match step {
            Step::Leave => self.leave(leading, request, out),
            Step::Stay => Ok(Self {
                state: State::Operational(leading),
                ..self
            }
            .stay(request, out)),
        }
    }

    fn stay(self, request: &LoginRequest<'_>, out: TextWriter) -> LoginStep {
        let reply = LoginReply::success(request, false, out);
        LoginStep {
            reply,
            next: LoginNext::Continue(Box::new(self)),
        }
    }

    /// Grants the transition that the request asks for.
    fn leave(
        mut self,
        leading: Box<Leading>,
        request: &LoginRequest<'_>,
        out: TextWriter,
    ) -> Result<LoginStep, LoginFailure> {
        let mut reply = LoginReply::success(request, true, out);
        if request.nsg == Stage::Operational.number() {
            self.state = State::Operational(leading);
            return Ok(LoginStep {
                reply,
                next: LoginNext::Continue(Box::new(self)),
            });
        }
        let params = leading.negotiation.finish()?;
        // With a TSIH it is a connection of that session, which its rights were checked for.
        let continues = request.tsih != 0;
        let tsih = if continues {
            request.tsih
        } else {
            let new = self.policy.new_tsih();
            new.ok_or(LoginFailure::OutOfResources)?.get()
        };
        reply.tsih = tsih;
        let done = LoggedIn {
            session_type: leading.session_type,
            initiator_name: leading.initiator,
            initiator_alias: leading.initiator_alias,
            isid: request.isid,
            tsih,
            continues,
            cid: request.cid,
            target_name: leading.target_name,
            params,
            target_params: leading.target.params,
            portal_group_tag: leading.target.portal_group_tag,
            auth_user: leading.auth_user,
            cmd_sn: request.cmd_sn,
            exp_stat_sn: request.exp_stat_sn,
        };
        Ok(LoginStep {
            reply,
            next: LoginNext::Done(Box::new(done)),
        })
    }
}

impl Leading {
    /// Admits the keys of one request and takes the names among them.
    fn admit(&mut self, stage: Stage, pairs: &[Pair<'_>]) -> Result<(), LoginFailure> {
        for pair in pairs {
            let spec = self.negotiation.admit(stage, pair.key)?;
            if let Some(spec) = spec.filter(|spec| spec.kind == Kind::DeclaredText) {
                self.declare(spec.name, pair.value)?;
            }
        }
        Ok(())
    }

    /// Some initiators repeat their names in each stage: that is allowed as long as nothing changes.
    fn declare(&mut self, key: &'static str, value: &str) -> Result<(), LoginFailure> {
        let same = match (key, self.session_type) {
            ("InitiatorName", _) => value == self.initiator,
            ("SessionType", SessionType::Normal) => value == "Normal",
            ("SessionType", SessionType::Discovery) => value == "Discovery",
            ("TargetName", SessionType::Normal) => self.target_name.as_deref() == Some(value),
            ("InitiatorAlias", _) => {
                self.initiator_alias = Some(value.to_owned());
                true
            }
            _ => true,
        };
        if same {
            Ok(())
        } else {
            Err(LoginFailure::Changed(key))
        }
    }

    /// The first response to a normal session carries TargetPortalGroupTag (RFC 7143 §13.9).
    pub(super) fn tell_tag(&mut self, out: &mut TextWriter) -> Result<(), LoginFailure> {
        if !std::mem::replace(&mut self.tag_told, true) {
            out.push(
                "TargetPortalGroupTag",
                &self.target.portal_group_tag.to_string(),
            )?;
        }
        Ok(())
    }

    pub(super) fn auth(&self) -> &AuthConfig {
        &self.target.auth
    }
}

fn check_name(key: &'static str, name: &str) -> Result<(), LoginFailure> {
    let bad = name.is_empty() || name.len() > MAX_NAME_LEN || name.contains(char::is_whitespace);
    if bad {
        Err(LoginFailure::BadName(key))
    } else {
        Ok(())
    }
}

impl LoginReply {
    fn success(request: &LoginRequest<'_>, transit: bool, out: TextWriter) -> Self {
        Self {
            status: LoginStatus::Success,
            csg: request.csg,
            nsg: if transit { request.nsg } else { 0 },
            transit,
            cont: false,
            tsih: request.tsih,
            data: out.finish(),
        }
    }

    /// The reply that ends a login. Only a redirection carries text.
    #[must_use]
    pub fn failure(failure: &LoginFailure, request: &LoginRequest<'_>) -> Self {
        let mut out = TextWriter::new(MAX_LOGIN_TEXT);
        if let LoginFailure::Moved { address, .. } = failure {
            // An address too long for a PDU is a configuration error; the status alone is sent then.
            let _ = out.push("TargetAddress", address);
        }
        Self {
            status: failure.status(),
            ..Self::success(request, false, out)
        }
    }
}
