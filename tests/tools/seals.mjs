// Verifies seals with npm's @sigstore/verify: node seals.mjs <folder with node_modules> <key id> <public key PEM> <seal>…
// Prints one line for each seal and exits 1 when one is refused.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createPublicKey } from "node:crypto";

const [folder, keyId, pem, ...seals] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity } = require("@sigstore/verify");

const key = createPublicKey(readFileSync(pem));
const trust = {
  certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [],
  publicKey: (hint) => {
    if (hint !== keyId) throw new Error(`the seal names the key ${hint}, not ${keyId}`);
    return { publicKey: key, validFor: () => true };
  },
};
const verifier = new Verifier(trust, { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 });
let refused = 0;
for (const path of seals) {
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(readFileSync(path, "utf8")))));
    console.log(`ok ${path}`);
  } catch (error) {
    console.log(`refused ${path}: ${error.message}`);
    refused += 1;
  }
}
process.exit(refused ? 1 : 0);
