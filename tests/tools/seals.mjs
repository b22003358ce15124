// Verifies seals with npm's @sigstore/verify: node seals.mjs <folder with node_modules> <keys> <trusted_root.json> <seal>…
// <keys> is the payload of keys.json. Tokens in seals are verified under the authorities of trusted_root.json, all of them; and a key must
// have been valid at their times. Prints one line for each seal and exits 1 when one is refused.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createPublicKey } from "node:crypto";

const [folder, keys, root, ...seals] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { bundleFromJSON } = require("@sigstore/bundle");
const { TrustedRoot } = require("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const json = (path) => JSON.parse(readFileSync(path, "utf8"));
const known = json(keys).keys.filter((key) => key.use === "receipts");
const find = (hint) => {
  const key = known.find((key) => key.key_id === hint);
  if (!key) throw new Error(`the seal names the key ${hint}, which may not seal`);
  const ends = [key.valid.until, key.compromised_since].filter((end) => end).map((end) => new Date(end));
  return {
    publicKey: createPublicKey({ key: Buffer.from(key.spki, "base64"), format: "der", type: "spki" }),
    validFor: (at) => new Date(key.valid.from) <= at && ends.every((end) => at < end),
  };
};
const trust = toTrustMaterial(TrustedRoot.fromJSON(json(root)), find);
let refused = 0;
for (const path of seals) {
  try {
    const entity = toSignedEntity(bundleFromJSON(json(path)));
    const count = entity.timestamps.length;
    new Verifier(trust, { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: count }).verify(entity);
    console.log(`ok ${path} tokens ${count}`);
  } catch (error) {
    console.log(`refused ${path}: ${error.message}`);
    refused += 1;
  }
}
process.exit(refused || !seals.length ? 1 : 0);
