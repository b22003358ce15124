// Verifies entries of a log from files: root fingerprint, keys, seal, statement, bundle, inclusion, checkpoint. docs/FORMAT.md says what
// each of them is. Nothing here reaches a network, and what is missing or unknown never passes.

const MOST_FILES = 20000;
const MOST_BYTES = 2 ** 30;
const KEYS = "application/vnd.evidenced.keys+json";
const STATEMENT = "application/vnd.in-toto+json";
const SEAL = "application/vnd.dev.sigstore.bundle.v0.3+json";
const KINDS = { "urn:evidenced:receipt:v1": "receipt", "urn:evidenced:missed:v1": "missed", "urn:evidenced:document:v1": "document" };

class Refused extends Error {}
class Open extends Error {}
const refuse = (says) => { throw new Refused(says); };
const open = (says) => { throw new Open(says); };

const encoder = new TextEncoder();
const ascii = (bytes) => {
  try { return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes); } catch { return null; }
};
const same = (a, b) => a.length === b.length && a.every((byte, n) => byte === b[n]);
const joined = (...parts) => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => { out.set(part, at); return at + part.length; }, 0);
  return out;
};
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

/** Base64 with padding in its one spelling; null for anything else. */
function bytesOf(text) {
  if (typeof text !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  let raw;
  try { raw = atob(text); } catch { return null; }
  if (btoa(raw) !== text) return null;
  return Uint8Array.from(raw, (char) => char.charCodeAt(0));
}

function parsed(bytes) {
  const text = ascii(bytes);
  if (text === null) return null;
  try { return JSON.parse(text); } catch { return null; }
}

/** Refuses JSON, which has been parsed, in which an object names a member twice: readers differ in which of the two they take. */
function once(bytes, name) {
  const open = [];
  let text = null;
  for (const [token] of ascii(bytes).matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    if (token === "{" || token === "[") open.push(new Set());
    else if (token === "}" || token === "]") open.pop();
    else if (token !== ":") text = token;
    else {
      const members = open.at(-1), member = JSON.parse(text);
      if (members.has(member)) refuse(`${name} names the member ${member} twice`);
      members.add(member);
    }
  }
}

/** Refuses what has members that the format does not have, so that nothing rides along unseen. */
function only(name, object, ...members) {
  const more = Object.keys(object ?? {}).find((member) => !members.includes(member));
  if (more !== undefined) refuse(`${name} has a member that the format does not have: ${more}`);
}

// ---- Ed25519 by the strict rules: what WebCrypto leaves to each browser is decided here

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;
const number = (bytes) => BigInt(`0x${hex(Uint8Array.from(bytes).reverse())}`);

function power(base, exponent) {
  let result = 1n;
  for (; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = result * base % P;
    base = base * base % P;
  }
  return result;
}

/** Whether 32 bytes are a point in its one spelling (RFC 8032, 5.1.3), and none of the eight of small order, under which anything can be
    made to verify: those whose double, or double's double, is the point (0, 1) or (0, -1). */
function strong(bytes) {
  const y = number(bytes) & (2n ** 255n - 1n);
  if (y >= P) return false;
  const square = y * y % P;
  if (y === 0n || square === 1n || (D * square % P * square + 2n * square) % P === 1n) return false;
  return power((square - 1n) * (D * square + 1n) % P, (P - 1n) / 2n) === 1n;
}

/** The 32 bytes of a SubjectPublicKeyInfo with Ed25519 (RFC 8410). */
function point(spki) {
  const der = bytesOf(spki);
  const prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
  if (der === null || der.length !== 44 || !same(Array.from(der.subarray(0, 12)), prefix)) refuse("a key in it is no Ed25519 key");
  const key = der.subarray(12);
  if (!strong(key)) refuse("a key in it is no point of the curve, one of small order, or spelled in another way than the one that it has");
  return key;
}

/** The fingerprint that OpenSSH prints. */
async function fingerprint(key) {
  const name = encoder.encode("ssh-ed25519");
  const wire = joined([0, 0, 0, 11], name, [0, 0, 0, 32], key);
  return "SHA256:" + base64(await sha256(wire)).replace(/=+$/, "");
}

async function signed(key, signature, message) {
  if (signature === null || signature.length !== 64) return false;
  if (!strong(key) || !strong(signature.subarray(0, 32)) || number(signature.subarray(32)) >= L) return false;
  const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
}

/** What DSSE signs. */
function pae(type, payload) {
  return joined(encoder.encode(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload);
}

// ---- ZIP (PKWARE APPNOTE): the strict form of FORMAT.md, section 9, without ZIP64

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit += 1) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
  return n;
});
const crc32 = (bytes) => (bytes.reduce((crc, byte) => CRC[(crc ^ byte) & 0xff] ^ crc >>> 8, -1) ^ -1) >>> 0;

/** Names that mean the same file on every system. */
function isName(name) {
  const device = /^(con|prn|aux|nul|(com|lpt)[0-9])(\.|$)/i;
  return name.length <= 200 && /^[A-Za-z0-9_.+@=,/-]+$/.test(name)
    && name.split("/").every((part) => /^[^.](.*[^.])?$/.test(part) && !device.test(part));
}

/** Whether no name comes twice, in whatever case, and none is a directory of another. */
function together(names) {
  const folded = new Set(names.map((name) => name.toLowerCase()));
  const above = (name) => name.split("/").slice(0, -1).map((_, n, parts) => parts.slice(0, n + 1).join("/"));
  return folded.size === names.length && ![...folded].some((name) => above(name).some((directory) => folded.has(directory)));
}

async function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u16 = (at) => view.getUint16(at, true), u32 = (at) => view.getUint32(at, true), u64 = (at) => view.getBigUint64(at, true);
  const odd = (says) => refuse(`the ZIP has another form than packages have: ${says}`);
  const end = bytes.length - 22;
  if (end < 0 || u32(end) !== 0x06054b50) refuse("the ZIP does not end as it must, or is cut");
  const count = u16(end + 10), directory = u32(end + 16);
  if (count === 0xffff || u32(end + 12) === 0xffffffff || directory === 0xffffffff) {
    const wide = end - 76;
    const large = wide >= 0 && u32(wide) === 0x06064b50
      && (u64(wide + 32) >= 0xffffn || u64(wide + 40) >= 0xffffffffn || u64(wide + 48) >= 0xffffffffn);
    if (!large) odd("ZIP64 where it is not needed, or cut");
    open("ZIPs of this size are not read here: use evidenced verify");
  }
  if (u32(end + 4) !== 0 || u16(end + 8) !== count || directory + u32(end + 12) !== end || u16(end + 20) !== 0) odd("its end record");
  if (count > MOST_FILES) open(`more than ${MOST_FILES} files are not read here: use evidenced verify`);
  const files = [];
  let at = directory, expected = 0, total = 0;
  for (let n = 0; n < count; n += 1) {
    if (at + 46 > end || u32(at) !== 0x02014b50) refuse("the ZIP's list of files is damaged");
    const method = u16(at + 10), packed = u32(at + 20), size = u32(at + 24), long = u16(at + 28), local = u32(at + 42);
    const wide = at + 46 + long;
    if (size === 0xffffffff && u16(at + 30) >= 20 && wide + 20 <= end && u16(wide) === 1
      && (u64(wide + 4) >= 0xffffffffn || u64(wide + 12) >= 0xffffffffn)) open("so much is not unpacked here: use evidenced verify");
    const plain = bytes[at + 5] === 3 && u16(at + 6) <= 20 && u16(at + 8) === 0 && u32(at + 12) === 0x00210000 && u16(at + 30) === 0
      && u32(at + 32) === 0 && u16(at + 36) === 0 && u32(at + 38) === 0o100644 * 0x10000;
    if (!plain) odd("flags, a time, a mode, a comment or fields that they do not have");
    if (method !== 8 && (method !== 0 || packed !== size)) odd("it is packed by another method");
    const name = bytes.subarray(at + 46, at + 46 + long), from = local + 30 + long;
    if (local !== expected || from + packed > directory || u32(local) !== 0x04034b50 || at + 46 + long > end
      || !same(bytes.subarray(at + 6, at + 32), bytes.subarray(local + 4, local + 30))
      || !same(name, bytes.subarray(local + 30, from))) refuse("the ZIP's files are not where, or not what, its list says");
    total += size;
    if (total > MOST_BYTES) open("so much is not unpacked here: use evidenced verify");
    const data = bytes.subarray(from, from + packed), text = ascii(name) ?? "";
    if (!isName(text)) odd(`a file is named ${text}`);
    const content = method === 8 ? await inflate(data, size) : data;
    if (content.length !== size || crc32(content) !== u32(at + 16)) refuse(`${text} in the ZIP is not what its list says`);
    files.push({ name: text, bytes: content });
    expected = from + packed;
    at += 46 + long;
  }
  if (at !== end || expected !== directory) refuse("the ZIP holds more than its list says");
  const [sums, ...others] = files;
  if (sums?.name !== "SHA256SUMS") odd("its first file is not SHA256SUMS");
  if (others.some(({ name }, n) => n > 0 && name <= others[n - 1].name)) odd("its files are not sorted by name");
  if (!together(files.map(({ name }) => name))) odd("a name comes twice, or is a directory of another");
  let listed = "";
  for (const file of others) listed += `${hex(await sha256(file.bytes))}  ${file.name}\n`;
  if (ascii(sums.bytes) !== listed) refuse("the files in the ZIP are not those that its SHA256SUMS lists");
  return files;
}

async function inflate(data, size) {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return joined(...parts);
      length += value.length;
      if (length > size) refuse("a file in the ZIP is longer than its list says");
      parts.push(value);
    }
  } catch (error) {
    if (error instanceof Refused) throw error;
    return refuse("a file in the ZIP cannot be unpacked: it is damaged");
  }
}

// ---- What the files are

async function sorted(given) {
  const found = { keys: [], seals: [], proofs: [], notes: [], statements: [], zips: [], other: [], all: new Map() };
  const take = async (file, depth) => {
    const { bytes } = file;
    const zip = same([0x50, 0x4b, 3, 4], bytes.subarray(0, 4)) || file.name.endsWith(".zip");
    if (zip && depth === 0 && hasSeals(bytes)) {
      for (const inner of await unzip(bytes)) await take(inner, 1);
      return;
    }
    const digest = hex(await sha256(bytes));
    const entry = { name: file.name, bytes, digest };
    if (!found.all.has(digest)) found.all.set(digest, entry);
    if (zip) { found.zips.push(entry); return; }
    const start = ascii(bytes.subarray(0, 40)) ?? "";
    if (start.startsWith("c2sp.org/tlog-proof@")) { found.proofs.push(entry); return; }
    const json = bytes.length < 2 ** 22 ? parsed(bytes) : null;
    if (json && json.mediaType !== undefined && json.dsseEnvelope) found.seals.push({ ...entry, json });
    else if (json && json.payloadType === KEYS) found.keys.push({ ...entry, json });
    else if (file.name.split("/").pop() === "statement.json" || (json && String(json._type).startsWith("https://in-toto.io/Statement"))) {
      found.statements.push(entry);
    } else if (file.name.endsWith(".checkpoint") || file.name.split("/").pop() === "checkpoint") found.notes.push(entry);
    else if (/(^|\/)(document\/keys\/|keys\.json$)/.test(file.name)) found.keys.push({ ...entry, json });
    else if (file.name.endsWith(".sigstore.json")) found.seals.push({ ...entry, json });
    else if (file.name.endsWith(".tlog-proof")) found.proofs.push(entry);
    else found.other.push(entry);
  };
  for (const file of given) await take(file, 0);
  return found;
}

/** Whether a ZIP is a package: names stand unpacked in it. */
function hasSeals(bytes) {
  const wanted = encoder.encode(".sigstore.json");
  for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (wanted.every((byte, n) => bytes[at + n] === byte)) return true;
  }
  return false;
}

// ---- The steps; each gives what it shows in words, or throws

async function keySet(files, trust) {
  if (!/^SHA256:[A-Za-z0-9+/]{43}$/.test(trust)) open("the fingerprint is missing, or is not SHA256: and 43 characters");
  if (files.length === 0) open("no keys were given (document/keys/….json)");
  let newest = null;
  for (const file of files) {
    const of = file.json, payload = bytesOf(of?.payload);
    const set = payload && parsed(payload);
    if (!set || of.payloadType !== KEYS || set.format !== "evidenced-keys/1")
        refuse(`${file.name} is no set of keys that this page knows`);
    once(file.bytes, file.name);
    once(payload, file.name);
    only(file.name, of, "payload", "payloadType", "signatures");
    only(file.name, set, "format", "origin", "revision", "root", "keys", "made_at");
    const root = point(set.root), found = await fingerprint(root);
    if (found !== trust) refuse(`${file.name} is under the root key ${found}, not under the one that you trust`);
    const [first, ...others] = Array.isArray(of.signatures) ? of.signatures : [];
    const message = pae(KEYS, payload);
    if (first?.keyid !== found || !await signed(root, bytesOf(first.sig), message)) refuse(`${file.name} is not signed by the root key`);
    if (!Array.isArray(set.keys) || typeof set.origin !== "string" || set.origin === "" || !(set.revision >= 1))
        refuse(`${file.name} is malformed`);
    const known = new Map();
    for (const key of set.keys) {
      only(file.name, key, "key_id", "spki", "use", "name", "valid", "compromised_since", "superseded_by", "lost");
      only(file.name, key.valid, "from", "until");
      const bytes = point(key.spki);
      if (key.key_id !== await fingerprint(bytes) || known.has(key.key_id) || key.key_id === found)
          refuse(`${file.name} contradicts itself`);
      known.set(key.key_id, { ...key, bytes });
    }
    for (const other of others) {
      const key = known.get(other.keyid);
      if (!key || !await signed(key.bytes, bytesOf(other.sig), message))
          refuse(`${file.name} carries a signature that is by none of its keys`);
    }
    if (newest && newest.origin !== set.origin) refuse("the keys are of two logs");
    if (!newest || set.revision > newest.revision) newest = { origin: set.origin, revision: set.revision, known };
  }
  return newest;
}

/** Refuses a key that may not sign so at that time. */
function entitled(keys, id, use, at) {
  const key = keys.known.get(id);
  if (!key) refuse(`the key ${id} is not among the owner's keys`);
  if (key.use !== use) refuse(`the key ${id} is for ${key.use}, not for ${use}`);
  const time = (text) => { const ms = Date.parse(text); return Number.isNaN(ms) ? refuse(`an instant cannot be read: ${text}`) : ms; };
  const from = time(key.valid?.from);
  const moment = use === "checkpoints" ? Math.max(time(at), from) : time(at);
  if (moment < from || (key.valid.until !== null && moment >= time(key.valid.until))) refuse(`the key ${id} was not valid at ${at}`);
  if (key.compromised_since !== null) {
    open(`the key ${id} is compromised since ${key.compromised_since}: only trusted time tells; use evidenced verify`);
  }
  return key;
}

async function sealed(file, keys) {
  const of = file.json, envelope = of?.dsseEnvelope, payload = bytesOf(envelope?.payload);
  if (!payload || of.mediaType !== SEAL || envelope.payloadType !== STATEMENT || envelope.signatures?.length !== 1)
      refuse(`${file.name} is no seal`);
  once(file.bytes, file.name);
  only(file.name, of, "mediaType", "verificationMaterial", "dsseEnvelope");
  only(file.name, of.verificationMaterial, "publicKey", "tlogEntries", "timestampVerificationData");
  only(file.name, envelope, "payload", "payloadType", "signatures");
  only(file.name, envelope.signatures[0], "sig", "keyid");
  const [{ keyid, sig }] = envelope.signatures;
  const statement = parsed(payload), entry = statement?.predicate?.entry;
  if (!entry || typeof entry.sealed_at !== "string") refuse("what it signs is no entry of a log");
  once(payload, "the statement");
  const key = entitled(keys, keyid, "receipts", entry.sealed_at);
  if (!await signed(key.bytes, bytesOf(sig), pae(STATEMENT, payload))) refuse(`the signature is not by ${keyid}`);
  if (entry.key_id !== keyid || of.verificationMaterial?.publicKey?.hint !== keyid)
      refuse("it names another key than the one that signed it");
  return { payload, statement, entry, keyid };
}

function stated({ payload, statement, entry }, keys, copies) {
  const kind = KINDS[statement.predicateType];
  if (statement._type !== "https://in-toto.io/Statement/v1" || !kind)
      open(`its kind is not known to this page: ${statement.predicateType}`);
  if (entry.origin !== keys.origin) refuse(`it is of the log ${entry.origin}, not of ${keys.origin}`);
  const subject = statement.subject?.[0], digest = subject?.digest?.sha256;
  if (typeof subject?.name !== "string" || !/^[0-9a-f]{64}$/.test(digest)) refuse("it does not name what it is about");
  if (copies.length > 0 && !copies.some((copy) => same(copy.bytes, payload))) refuse("statement.json is not what the seal signs");
  return { kind, name: subject.name, digest, body: statement.predicate[kind] ?? {} };
}

function about(subject, files, alone) {
  const file = files.all.get(subject.digest);
  if (file) return file;
  if (alone && subject.kind === "receipt" && files.zips.length > 0) {
    const [{ digest, name }] = files.zips;
    refuse(`its SHA-256 is ${digest}, but ${subject.digest} was sealed: ${name} was changed, or is another bundle`);
  }
  const twin = files.other.find((other) => subject.name.endsWith(other.name.split("/").pop()));
  if (twin) refuse(`its SHA-256 is ${twin.digest}, but ${subject.digest} was sealed`);
  return open(`what was sealed is not among the files: ${subject.name}`);
}

function note(bytes) {
  const text = ascii(bytes);
  const split = text === null ? -1 : text.indexOf("\n\n");
  if (split < 0) refuse("the checkpoint is no signed note");
  const [origin, size, root, ...more] = text.slice(0, split).split("\n");
  const hash = bytesOf(root);
  if (more.length > 0 || !/^(0|[1-9][0-9]{0,12})$/.test(size ?? "") || hash?.length !== 32) refuse("the checkpoint is malformed");
  const lines = text.slice(split + 2).split("\n");
  if (lines.pop() !== "") refuse("the checkpoint does not end with a line feed");
  const signatures = lines.map((line) => {
    const [, name, value] = /^— (\S+) (\S+)$/.exec(line) ?? refuse("a line under the checkpoint is no signature");
    const raw = bytesOf(value);
    if (!raw || raw.length < 5) refuse("a signature under the checkpoint is malformed");
    return { name, id: hex(raw.subarray(0, 4)), signature: raw.subarray(4) };
  });
  return { origin, size: BigInt(size), root: hash, signatures, message: encoder.encode(text.slice(0, split + 1)) };
}

/** C2SP tlog-proof, version 1, without extra data. */
function proofOf(bytes) {
  const text = ascii(bytes);
  const split = text === null ? -1 : text.indexOf("\n\n");
  if (split < 0) refuse("the proof is malformed");
  const [format, index, ...hashes] = text.slice(0, split).split("\n");
  const place = /^index (0|[1-9][0-9]{0,12})$/.exec(index ?? "");
  if (format !== "c2sp.org/tlog-proof@v1" || !place) refuse("the proof is malformed");
  const path = hashes.map((hash) => { const raw = bytesOf(hash); return raw?.length === 32 ? raw :
      refuse("a hash in the proof is malformed"); });
  return { index: BigInt(place[1]), path, head: note(bytes.subarray(encoder.encode(text.slice(0, split + 2)).length)) };
}

/** RFC 9162, 2.1.3.2. */
async function includes({ index, path, head }, leaf) {
  if (index >= head.size) return false;
  let fn = index, sn = head.size - 1n, hash = await sha256(joined([0], leaf));
  for (const other of path) {
    if (sn === 0n) return false;
    if ((fn & 1n) === 1n || fn === sn) {
      hash = await sha256(joined([1], other, hash));
      while ((fn & 1n) === 0n && fn !== 0n) { fn >>= 1n; sn >>= 1n; }
    } else {
      hash = await sha256(joined([1], hash, other));
    }
    fn >>= 1n; sn >>= 1n;
  }
  return sn === 0n && same(hash, head.root);
}

async function included(leaf, entry, proofs, alone) {
  if (proofs.length === 0) open("no proof was given (….tlog-proof)");
  const good = [];
  let why = null;
  for (const file of proofs) {
    try {
      const proof = proofOf(file.bytes);
      if (await includes(proof, leaf)) good.push({ ...proof, file });
      else why ??= `${file.name} does not lead from this entry to the checkpoint in it`;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      why ??= `${file.name}: ${error.message}`;
    }
  }
  if (good.length === 0 || (alone && why)) refuse(why);
  if (good.some((proof) => proof.index !== good[0].index)) refuse("two proofs give the entry two places");
  const [{ index }] = good;
  if (entry.checkpoint && BigInt(entry.checkpoint.size) > index) refuse("the entry knew a checkpoint that is newer than itself");
  return good;
}

/** Who signed it: every line by one of the owner's keys must verify, and there must be one. */
async function signers(head, keys, at) {
  if (head.origin !== keys.origin) refuse(`the checkpoint is of the log ${head.origin}, not of ${keys.origin}`);
  let by = null;
  for (const [id, key] of keys.known) {
    if (key.use !== "checkpoints") continue;
    const hash = hex((await sha256(joined(encoder.encode(`${keys.origin}\n`), [1], key.bytes))).subarray(0, 4));
    for (const line of head.signatures.filter((one) => one.name === keys.origin && one.id === hash)) {
      if (!await signed(key.bytes, line.signature, head.message)) refuse(`the checkpoint's signature is not by ${id}`);
      entitled(keys, id, "checkpoints", at);
      by ??= id;
    }
  }
  return by ?? refuse("the checkpoint is not signed by a key of the owner");
}

async function headed(good, files, keys, at) {
  const said = [];
  for (const { head, file } of good) said.push({ size: head.size, by: await signers(head, keys, at), root: head.root, name: file.name });
  for (const file of files.notes) {
    const head = note(file.bytes);
    await signers(head, keys, at);
    const twin = said.find((one) => one.size === head.size);
    if (twin && !same(twin.root, head.root)) refuse(`${file.name} and ${twin.name} are of two histories of the log`);
  }
  return said;
}

// ---- All of it

const STEPS = ["Files", "Keys under the root that you trust", "Seal", "Statement", "What it is about", "Place in the log", "Checkpoint"];

/** The verdict over files {name, bytes}: {verdict, entries: [{title, steps: [{name, state, says}]}]}; state is ok, refused, open or
    not reached. */
async function verify(given, trust) {
  const entries = [];
  let files = null;
  try {
    files = await sorted(given);
    if (given.length === 0) open("no files were given");
    if (files.seals.length === 0) open("no seal was given (….sigstore.json)");
  } catch (error) {
    return { verdict: verdictOf(error), entries: [listed("", [stepOf(error)])] };
  }
  const alone = files.seals.length === 1;
  const used = new Set();
  const kinds = [["package or bundle", files.zips], ["seal", files.seals], ["proof", files.proofs], ["checkpoint", files.notes],
      ["set of keys", files.keys], ["statement", files.statements]];
  const counted = kinds.filter(([, list]) => list.length > 0).map(([name, list]) =>
      `${list.length} × ${name.replace("package or ", "")}`).join(", ");
  for (const seal of files.seals) {
    const steps = [{ state: "ok", says: `${counted}; ${files.other.length} other` }];
    const step = async (run) => { const [value, says] = await run(); steps.push({ state: "ok", says }); return value; };
    try {
      const keys = await step(async () => { const set = await keySet(files.keys, trust); return [set,
          `revision ${set.revision} of the keys of ${set.origin}`]; });
      const seals = await step(async () => { const one = await sealed(seal, keys); return [one, `signed by ${one.keyid}`]; });
      const subject = await step(async () => {
        const one = stated(seals, keys, alone ? files.statements : []);
        const outcome = one.body.outcome ? `, outcome ${one.body.outcome}` : "";
        const of = one.body.job ?? one.body.kind ?? "?";
        return [one, `${one.kind} of ${of}, sealed at ${seals.entry.sealed_at} by the agent's clock${outcome}`];
      });
      const file = await step(() => { const one = about(subject, files, alone); return [one, `${one.name}: SHA-256 ${one.digest}`]; });
      const proofs = await step(async () => {
        const good = await included(seals.payload, seals.entry, files.proofs, alone);
        return [good, `entry ${good[0].index} of ${good.map(({ head }) => head.size).join(" and ")}`];
      });
      await step(async () => {
        const said = await headed(proofs, files, keys, seals.entry.sealed_at);
        return [said, said.map((one) => `over ${one.size} entries, signed by ${one.by}`).join("; ")];
      });
      [file.digest, ...proofs.map((proof) => proof.file.digest)].forEach((digest) => used.add(digest));
    } catch (error) {
      steps.push(stepOf(error));
    }
    entries.push(listed(seal.name, steps));
  }
  const stray = [...files.zips, ...files.proofs].filter((file) => !used.has(file.digest));
  const states = entries.flatMap((entry) => entry.steps.map((one) => one.state));
  if (!states.includes("refused") && !states.includes("open") && stray.length > 0) {
    entries.push(listed("Files that no seal explains", [{ state: "refused", says: stray.map((file) => file.name).join(", ") }]));
    states.push("refused");
  }
  return { verdict: states.includes("refused") ? "refused" : states.includes("open") || states.includes("not reached") ? "open" :
      "verified", entries };
}

const verdictOf = (error) => error instanceof Refused ? "refused" : "open";
const stepOf = (error) => ({
  state: verdictOf(error),
  says: error instanceof Refused || error instanceof Open ? error.message : `it could not be checked: ${error}`,
});

function listed(title, steps) {
  const names = title === "Files that no seal explains" ? ["Files"] : STEPS;
  return { title, steps: names.map((name, n) => ({ name, ...(steps[n] ?? { state: "not reached", says: "" }) })) };
}

/** Whether this browser can verify Ed25519: RFC 8032, 7.1, test 1 holds, and not with another message. */
async function able() {
  const bytes = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
  const key = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const signature = bytes("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    + "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
  try {
    return await signed(key, signature, new Uint8Array()) && !await signed(key, signature, new Uint8Array(1)) && typeof
        DecompressionStream === "function";
  } catch {
    return false;
  }
}

// ---- The page

const SAID = {
  verified: "VERIFIED: sealed under the root key that you gave, and in the log.",
  refused: "REFUSED: something is not as it must be.",
  open: "NOT VERIFIED: something is missing, or cannot be checked here.",
};
const WORDS = { ok: ["✓ checked", "word-ok"], refused: ["✕ refused", "word-no"], open: ["? open", "word-open"], "not reached":
    ["– not reached", ""] };

/** Texts from files are spelled out where they could hide or reorder what is read. */
const plain = (text) => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
  (char) => `[U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = plain(text);
  if (kind) made.className = kind;
  return made;
}

async function start() {
  const at = (id) => document.getElementById(id);
  const form = at("v-form"), input = at("v-files"), drop = at("v-drop"), result = at("v-result");
  let given = [];
  const forget = () => { result.hidden = true; result.removeAttribute("data-verdict"); };
  const take = async (list) => {
    forget();
    for (const file of list) given.push({ name: file.webkitRelativePath || file.name, bytes: new Uint8Array(await file.arrayBuffer()) });
    at("v-list").replaceChildren(...given.map((file) => element("li", `${file.name} (${file.bytes.length} bytes)`)));
  };
  const show = ({ verdict, entries }) => {
    const line = at("v-verdict");
    line.textContent = SAID[verdict];
    line.className = verdict === "verified" ? "word-ok" : verdict === "refused" ? "word-no" : "word-open";
    at("v-steps").replaceChildren(...entries.flatMap((entry) => [
      ...(entries.length > 1 ? [element("h4", entry.title)] : []),
      ...entry.steps.map((step) => {
        const item = element("li", `${step.name}: `);
        item.dataset.state = step.state;
        item.append(element("span", WORDS[step.state][0], WORDS[step.state][1]));
        if (step.says) item.append(element("span", `. ${step.says}`));
        return item;
      }),
    ]));
    result.hidden = false;
    result.dataset.verdict = verdict;
  };
  form.hidden = false;
  if (!await able()) {
    at("v-go").disabled = true;
    form.append(element("p", "This browser cannot verify: its WebCrypto has no Ed25519 (or the page was not opened from a file or "
      + "over HTTPS). Use a newer one, or evidenced verify.", "warn"));
    form.dataset.able = "no";
    return;
  }
  form.dataset.able = "yes";
  input.addEventListener("change", () => take([...input.files]));
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault();
      drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over");
      take([...event.dataTransfer.files]); });
  at("v-trust").addEventListener("input", forget);
  at("v-clear").addEventListener("click", () => { given = []; input.value = ""; at("v-list").replaceChildren(); forget(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    forget();
    at("v-go").disabled = true;
    try { show(await verify(given, at("v-trust").value.trim())); }
    catch (error) { show({ verdict: "open", entries: [listed("", [stepOf(error)])] }); }
    finally { at("v-go").disabled = false; }
  });
}

if (globalThis.document) start();
