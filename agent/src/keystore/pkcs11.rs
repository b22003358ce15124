//! A key in a token that is reached through PKCS#11 (OASIS, version 2.40 and later; Ed25519 as version 3.0 has it, `CKM_EDDSA`). The PIN is
//! in a file of mode 0600, is read when the token is opened, and is wiped from memory after, unless it was wrong: then it is kept, so that
//! it is not tried again.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use serde::{Deserialize, Serialize};
use signing::keys::PublicKey;
use zeroize::Zeroizing;

use super::{
    check_access,
    service::{Service, ServiceError},
};

/// `pkcs11`: a key in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Config {
    /// The token's library, such as `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: PathBuf,
    /// The token's label; none: `slot` is written, or there is one token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_label: Option<String>,
    /// The slot's number; none: the token is found by its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u64>,
    /// The key's label (`CKA_LABEL`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The key's id (`CKA_ID`) in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A file of mode 0600 with the user's PIN.
    pub pin_file: PathBuf,
}

impl Pkcs11Config {
    /// What the types alone do not refuse: the problem with the key that it is at.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.label.is_none() && self.id.is_none() {
            problems.push(("label", "write the key's `label` or its `id`".to_owned()));
        }
        if self.id.as_ref().is_some_and(|id| hex::decode(id).is_err()) {
            problems.push(("id", "is not written in hexadecimal digits, such as `0a1b`".to_owned()));
        }
        if self.token_label.is_some() && self.slot.is_some() {
            problems.push(("slot", "is written beside `token_label`: name the token by one of them".to_owned()));
        }
        problems
    }

    /// For people.
    pub fn name(&self) -> String {
        let key = self.label.as_deref().or(self.id.as_deref()).unwrap_or_default();
        match (&self.token_label, self.slot) {
            (Some(token), _) => format!("pkcs11 token {token:?}, key {key:?}"),
            (None, Some(slot)) => format!("pkcs11 slot {slot}, key {key:?}"),
            (None, None) => format!("pkcs11 key {key:?}"),
        }
    }
}

/// A token's key.
pub(super) struct Token {
    config: Pkcs11Config,
}

/// A session that is logged in, and its key.
struct Open {
    session: Session,
    private: ObjectHandle,
}

/// A library, which is initialised once in a process, and its sessions: they end before it does.
#[derive(Default)]
struct Module {
    open: Vec<(Pkcs11Config, Open)>,
    /// PINs that were wrong: asking again with the same would lock the token.
    wrong: Vec<(Pkcs11Config, Zeroizing<String>)>,
    context: Option<Pkcs11>,
}

impl Module {
    /// Some libraries see a token that was put back only when they begin anew.
    fn end(&mut self) {
        self.open.clear();
        if let Some(context) = self.context.take()
            && let Err(error) = context.finalize()
        {
            tracing::debug!("a PKCS#11 module did not end in order: {error}");
        }
    }
}

/// One call at a time: what a login allows is shared by all sessions of a process, and nothing may be asked while a library ends.
static MODULES: LazyLock<Mutex<BTreeMap<PathBuf, Module>>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Token {
    pub fn new(config: Pkcs11Config) -> Self {
        Self { config }
    }

    fn refused(&self, what: impl std::fmt::Display) -> ServiceError {
        ServiceError::Refused(format!("{}: {what}", self.config.name()))
    }

    fn failed(&self, action: &str, error: &Error) -> ServiceError {
        let says = format!("{}: cannot {action}: {error}", self.config.name());
        match error {
            Error::Pkcs11(
                RvError::DeviceError
                | RvError::DeviceRemoved
                | RvError::DeviceMemory
                | RvError::FunctionFailed
                | RvError::GeneralError
                | RvError::HostMemory
                | RvError::SessionClosed
                | RvError::SessionCount
                | RvError::SessionHandleInvalid
                | RvError::TokenNotPresent
                | RvError::UserNotLoggedIn,
                _,
            ) => ServiceError::Away(says),
            _ => ServiceError::Refused(says),
        }
    }

    fn context(&self, module: &mut Module) -> Result<Pkcs11, ServiceError> {
        if let Some(context) = &module.context {
            return Ok(context.clone());
        }
        let path = &self.config.module;
        if !path.is_file() {
            return Err(
                self.refused(format_args!("there is no module {}: install it, or correct `module`", path.display()))
            );
        }
        let context = Pkcs11::new(path).map_err(|e| {
            self.refused(format_args!(
                "the module {} cannot be loaded: {e}. It must be a PKCS#11 library for this machine, and a statically linked evidenced \
                 loads none: install one that is linked dynamically",
                path.display()
            ))
        })?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(self.failed("initialise its module", &error)),
        }
        module.context = Some(context.clone());
        Ok(context)
    }

    fn slot(&self, context: &Pkcs11) -> Result<Slot, ServiceError> {
        let slots = context.get_slots_with_initialized_token().map_err(|e| self.failed("list its slots", &e))?;
        let mut found = Vec::new();
        for slot in slots {
            let is_it = match (&self.config.token_label, self.config.slot) {
                (Some(token), _) => {
                    let info = context.get_token_info(slot).map_err(|e| self.failed("look at a token", &e))?;
                    info.label().trim_end() == token
                }
                (None, Some(number)) => slot.id() == number,
                (None, None) => true,
            };
            if is_it {
                found.push(slot);
            }
        }
        match found.as_slice() {
            [slot] => Ok(*slot),
            // It may only be unplugged.
            [] => Err(ServiceError::Away(format!("{}: there is no such token", self.config.name()))),
            _ => Err(self.refused("there is more than one such token: name it by `token_label` or `slot`")),
        }
    }

    /// Opens a session, logs in, and finds the key.
    fn open(&self, module: &mut Module) -> Result<Open, ServiceError> {
        let context = self.context(module)?;
        let slot = self.slot(&context)?;
        let session = context.open_ro_session(slot).map_err(|e| self.failed("open a session", &e))?;
        let pin = self.pin()?;
        if module.wrong.iter().any(|(config, wrong)| self.is_same_token(config) && *wrong == pin) {
            return Err(self.wrong_pin("was wrong before, and is not tried again"));
        }
        match session.login(UserType::User, Some(&AuthPin::new(pin.as_str().into()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                module.wrong.retain(|(config, _)| !self.is_same_token(config));
                module.wrong.push((self.config.clone(), pin));
                return Err(self.wrong_pin("is wrong"));
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => {
                return Err(self.refused("the PIN is locked: have the token's security officer set a new one"));
            }
            Err(error) => return Err(self.failed("log in", &error)),
        }
        let private = self.find(&session, ObjectClass::PRIVATE_KEY)?;
        Ok(Open { session, private })
    }

    /// Whether another key is in the same token: a PIN is the token's.
    fn is_same_token(&self, other: &Pkcs11Config) -> bool {
        (&other.token_label, other.slot) == (&self.config.token_label, self.config.slot)
    }

    fn pin(&self) -> Result<Zeroizing<String>, ServiceError> {
        let path = &self.config.pin_file;
        check_access(path, 0o077, "600").map_err(|e| self.refused(signing::errors::chain(&e)))?;
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|e| self.refused(format_args!("cannot read {}: {e}", path.display())))?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn wrong_pin(&self, what: &str) -> ServiceError {
        let path = self.config.pin_file.display();
        self.refused(format_args!("the PIN in {path} {what}: correct it before the token locks"))
    }

    fn find(&self, session: &Session, class: ObjectClass) -> Result<ObjectHandle, ServiceError> {
        let mut template = vec![Attribute::Class(class)];
        template.extend(self.config.label.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(self.config.id.as_ref().and_then(|id| hex::decode(id).ok()).map(Attribute::Id));
        let found = session.find_objects(&template).map_err(|e| self.failed("look for the key", &e))?;
        let what = if class == ObjectClass::PRIVATE_KEY { "private" } else { "public" };
        let [key] = found.as_slice() else {
            return Err(self.refused(format_args!(
                "it has {} {what} keys of that name, not one: correct `label` or `id`",
                found.len()
            )));
        };
        let types =
            session.get_attributes(*key, &[AttributeType::KeyType]).map_err(|e| self.failed("look at the key", &e))?;
        match types.as_slice() {
            [Attribute::KeyType(KeyType::EC_EDWARDS)] => Ok(*key),
            _ => Err(self.refused("the key is of another kind: an Ed25519 key (CKK_EC_EDWARDS) is needed")),
        }
    }

    /// Asks in an open session. One that was lost is opened again, if need be by a library that begins anew.
    fn ask<T>(&self, ask: impl Fn(&Open) -> Result<T, ServiceError>) -> Result<T, ServiceError> {
        let mut modules = lock(&MODULES);
        let module = modules.entry(self.config.module.clone()).or_default();
        if let Some(at) = module.open.iter().position(|(config, _)| *config == self.config) {
            match ask(&module.open[at].1) {
                Ok(answer) => return Ok(answer),
                Err(_) => drop(module.open.remove(at)),
            }
        }
        let opened = match self.open(module) {
            Err(ServiceError::Away(_)) => {
                module.end();
                self.open(module)?
            }
            other => other?,
        };
        let answer = ask(&opened)?;
        module.open.push((self.config.clone(), opened));
        Ok(answer)
    }
}

impl Service for Token {
    fn public(&self) -> Result<PublicKey, ServiceError> {
        self.ask(|open| {
            let key = self.find(&open.session, ObjectClass::PUBLIC_KEY)?;
            let point = open
                .session
                .get_attributes(key, &[AttributeType::EcPoint])
                .map_err(|e| self.failed("read the public key", &e))?;
            let Some(Attribute::EcPoint(point)) = point.first() else {
                return Err(self.refused("the token does not give its public key away"));
            };
            // The point, as an OCTET STRING (PKCS#11 v3.0, 2.3.6) or, by some tokens, bare.
            let bytes = point.strip_prefix(&[0x04, 0x20]).unwrap_or(point);
            let bytes: &[u8; 32] =
                bytes.try_into().map_err(|_| self.refused("the key is of another curve than Ed25519"))?;
            PublicKey::from_bytes(bytes).map_err(|e| self.refused(e))
        })
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], ServiceError> {
        self.ask(|open| {
            let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
            let signature =
                open.session.sign(&mechanism, open.private, message).map_err(|e| self.failed("sign", &e))?;
            signature.as_slice().try_into().map_err(|_| {
                self.refused(format_args!(
                    "the token answered with {} bytes, not the 64 of a signature",
                    signature.len()
                ))
            })
        })
    }
}
