//! Signed tokens (JWT) of routes that want them: whether they are good, and what endpoints get of them.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use http1::RequestHead;
use jwt::{Claims, Demands, KeySet, Lifetime, Token, TokenError};
use model::{Jwt, JwtKeys, JwtProvider};
use policy::is_header_value;

use crate::changes::Changes;
use crate::remembered;
use crate::token_places;
use crate::worker::Worker;

/// Whose tokens let in on a route.
pub(crate) struct Tokens {
    said: Jwt,
    /// Keys and demands of its providers.
    providers: Vec<(KeySet, Demands)>,
    /// Tells what was good here from what was good elsewhere, and before a change.
    name: u64,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has no token.
    Missing,
    /// One is not good.
    Invalid(TokenError),
    /// It has more than are looked at.
    Many,
    /// One is good, and does not say what it must.
    Claims,
    /// One says what can stand in no header.
    Unspeakable,
}

/// A good token.
pub(crate) struct Good {
    lifetime: Lifetime,
    /// What endpoints get: places in the provider's list of headers, and values.
    headers: Vec<(usize, String)>,
}

impl Refused {
    /// Of the answer (RFC 6750 section 3.1).
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Invalid(_) | Self::Many => 401,
            Self::Claims | Self::Unspeakable => 403,
        }
    }

    /// For people.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "a token is missing",
            Self::Invalid(error) => error.reason(),
            Self::Many => "the request has too many tokens",
            Self::Claims => "the token does not have the claims that the route's RoutePolicy asks for",
            Self::Unspeakable => "a claim of the token can stand in no header",
        }
    }

    /// The value of `WWW-Authenticate`. RFC 6750 section 3.1: to a request without a token "the resource server SHOULD NOT include an error
    /// code".
    pub(crate) fn challenge(self) -> String {
        let code = match self {
            Self::Missing => return "Bearer realm=\"restricted\"".to_owned(),
            Self::Invalid(_) | Self::Many => "invalid_token",
            Self::Claims | Self::Unspeakable => "insufficient_scope",
        };
        let reason = self.reason();
        format!("Bearer realm=\"restricted\", error=\"{code}\", error_description=\"{reason}\"")
    }
}

impl Tokens {
    /// None: the keys cannot be read.
    pub(crate) fn new(said: &Jwt) -> Option<Self> {
        let provider = |provider: &JwtProvider| {
            let JwtKeys::Local(keys) = &provider.keys;
            let (issuer, audiences) = (provider.issuer.clone(), provider.audiences.clone());
            let demands = Demands { issuer, audiences, leeway: provider.clock_skew };
            Some((KeySet::parse(keys.json()).ok()?, demands))
        };
        let providers: Option<Vec<_>> = said.providers.iter().map(provider).collect();
        let providers = providers.filter(|all| !all.is_empty())?;
        Some(Self { said: said.clone(), providers, name: remembered::name() })
    }

    /// What it was made from.
    pub(crate) fn said(&self) -> &Jwt {
        &self.said
    }

    /// Whether the request has a token, and all that it has are good; what endpoints get of the first goes into `changes`, and whatever
    /// else calls itself so never reaches them.
    ///
    /// All, because nobody knows which of them the endpoint looks at.
    pub(crate) fn check(
        &self,
        worker: &Worker,
        head: &RequestHead,
        changes: &mut Changes,
    ) -> Result<(), Refused> {
        for line in self.said.providers.iter().flat_map(|provider| &provider.claim_to_headers) {
            changes.lines_mut().remove_alike(&line.header);
        }
        token_places::forbid_trailers(&self.said, changes);
        let found = token_places::find(&self.said, head)?;
        if found.is_empty() && !self.said.is_optional {
            return Err(Refused::Missing);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for (at, (token, takers)) in found.iter().enumerate() {
            let (provider, good) = self.judge(worker, token, takers, now)?;
            if at == 0 {
                for (line, value) in &good.headers {
                    if let Some(line) = provider.claim_to_headers.get(*line) {
                        changes.lines_mut().add(&line.header, value.as_bytes());
                    }
                }
            }
        }
        token_places::keep_back(&self.said, head, changes);
        Ok(())
    }

    /// The first of `takers` for whom a token is good; else the refusal that says most.
    fn judge(
        &self,
        worker: &Worker,
        token: &str,
        takers: &[usize],
        now: u64,
    ) -> Result<(&JwtProvider, Rc<Good>), Refused> {
        let mut refused = None;
        for &index in takers {
            let Some((provider, means)) = self.said.providers.get(index).zip(self.providers.get(index))
            else {
                continue;
            };
            let (name, place) = (self.name.to_be_bytes(), (index as u64).to_be_bytes());
            let tag = worker.shared.checks.tags.tag(&[&name, &place, token.as_bytes()]);
            let known = tag.and_then(|tag| worker.good_tokens.get(&tag));
            let judged = match known {
                Some(good) => good.lifetime.holds(now).map(|()| good).map_err(Refused::Invalid),
                None => read(provider, means, token, now).map(Rc::new).inspect(|good| {
                    if let Some(tag) = tag {
                        worker.good_tokens.add(tag, good.clone());
                    }
                }),
            };
            match judged {
                Ok(good) => return Ok((provider, good)),
                // For another provider than its own, nothing else is told of a token.
                Err(Refused::Invalid(error @ (TokenError::NoKey | TokenError::Issuer))) => {
                    refused = refused.or(Some(Refused::Invalid(error)));
                }
                Err(other) => refused = Some(other),
            }
        }
        Err(refused.unwrap_or(Refused::Missing))
    }
}

/// Checks a token that nobody remembers.
fn read(
    provider: &JwtProvider,
    (keys, demands): &(KeySet, Demands),
    token: &str,
    now: u64,
) -> Result<Good, Refused> {
    let checked = |token: &str| -> Result<(Claims, Lifetime), TokenError> {
        let token = Token::parse(token)?;
        // The signature is what costs: others' tokens are known by what they say.
        if demands.issuer.as_deref().is_some_and(|issuer| token.unverified_issuer() != Some(issuer)) {
            return Err(TokenError::Issuer);
        }
        let claims = token.verify(keys)?;
        let lifetime = demands.judge(&claims)?;
        lifetime.holds(now)?;
        Ok((claims, lifetime))
    };
    let (claims, lifetime) = checked(token).map_err(Refused::Invalid)?;
    if !provider.required_claims.iter().all(|asked| claims.has(&asked.name, &asked.values)) {
        return Err(Refused::Claims);
    }
    let mut headers = Vec::new();
    for (at, line) in provider.claim_to_headers.iter().enumerate() {
        match claims.header_value(&line.claim).filter(|value| !value.is_empty()) {
            Some(value) if !is_header_value(&value) => return Err(Refused::Unspeakable),
            Some(value) => headers.push((at, value)),
            None => {}
        }
    }
    Ok(Good { lifetime, headers })
}
