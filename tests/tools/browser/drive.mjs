// Opens pages in Chromium as a person does, and tells what happened. Arguments: the folder with playwright-core, Chromium's program,
// and a JSON file with the runs. Each run: {page, width, dark, script, weak, screenshot, pdf, files, dropped, trust, probe, parts}; printed is a list
// of {said, requests, overflow, marks, faults, verdict, steps, text, ...}. Every request but that for the page itself is refused, and told.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

const [, , modules, executablePath, given] = process.argv;
const { chromium } = createRequire(`${modules}/package.json`)("playwright-core");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

/** Drops files on the page, as from a file manager. */
async function drop(page, files) {
  const content = files.map((file) => ({ name: basename(file), base64: readFileSync(file).toString("base64") }));
  const transfer = await page.evaluateHandle((content) => {
    const transfer = new DataTransfer();
    for (const { name, base64 } of content) {
      transfer.items.add(new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], name));
    }
    return transfer;
  }, content);
  await page.dispatchEvent("#v-drop", "drop", { dataTransfer: transfer });
}

/** What a page may try to reach, with whether it could. */
const probe = (address) => (async () => {
  const reached = [];
  const loads = (made, place) => new Promise((resolve) => {
    made.onload = () => resolve(true);
    made.onerror = () => resolve(false);
    setTimeout(() => resolve(false), 2000);
    document.head.append(Object.assign(made, place));
  });
  try { await fetch(address); reached.push("fetch"); } catch { /* refused */ }
  try { new WebSocket(address.replace("http", "ws")).onopen = () => reached.push("socket"); } catch { /* refused */ }
  if (navigator.sendBeacon(address, "x")) reached.push("beacon queued");
  if (await loads(new Image(), { src: `${address}image.png` })) reached.push("image");
  if (await loads(document.createElement("script"), { src: `${address}script.js` })) reached.push("script");
  if (await loads(document.createElement("link"), { rel: "stylesheet", href: `${address}style.css` })) reached.push("style");
  return reached;
})();

/** What the page's own functions say of ZIPs, given in base64: their files as one digest, or the refusal; and of points, in hex. */
const parts = async ({ zips, points }) => {
  const told = { zips: [], points: points.map((point) => strong(Uint8Array.from(point.match(/../g), (pair) => parseInt(pair, 16)))) };
  for (const zip of zips) {
    try {
      const files = await unzip(Uint8Array.from(atob(zip), (char) => char.charCodeAt(0)));
      told.zips.push(hex(await sha256(joined(...files.flatMap(({ name, bytes }) => [encoder.encode(`${name}\n${bytes.length}\n`), bytes])))));
    } catch (error) {
      told.zips.push(`${error instanceof Refused ? "refused" : error instanceof Open ? "open" : "failed"}: ${error.message}`);
    }
  }
  return told;
};

/** What a reader would stumble over: links that lead nowhere, ids that come twice, tables without a name or heads, and calendars in which
    a state is a colour alone; and how many cells the calendars have. */
const looked = () => {
  const all = (of, from = document) => [...from.querySelectorAll(of)];
  const ids = all("[id]").map((one) => one.id), count = (path) => path.getAttribute("d").split("M").length - 1;
  const mute = (calendar) => ["o", "d", "n", "x", "w"].flatMap((state) => {
    const [cells, shapes] = ["f", "g"].map((of) => all(`.${of}${state}`, calendar).reduce((sum, path) => sum + count(path), 0));
    return cells > shapes ? [`${calendar.getAttribute("aria-label")}: ${cells} cells of ${state}, ${shapes} shapes`] : [];
  });
  return {
    marks: all("svg.cal path[class^=f]:not(.fb)").reduce((sum, path) => sum + count(path), 0),
    faults: {
      anchors: all('a[href^="#"]').map((link) => link.getAttribute("href").slice(1)).filter((id) => !ids.includes(id)),
      ids: ids.filter((id, n) => ids.indexOf(id) !== n),
      headless: all("table").filter((table) => !table.querySelector("th[scope]") || !table.caption?.textContent)
        .map((table) => table.textContent.slice(0, 60)),
      mute: all("svg.cal").flatMap((calendar) => calendar.getAttribute("aria-label") ? mute(calendar) : ["a calendar without a name"]),
    },
  };
};

async function run(of) {
  const url = pathToFileURL(of.page).href;
  const context = await browser.newContext({
    viewport: { width: of.width ?? 1280, height: 900 },
    colorScheme: of.dark ? "dark" : "light",
    javaScriptEnabled: of.script ?? true,
  });
  const page = await context.newPage();
  const told = { said: [], requests: [] };
  page.on("console", (message) => told.said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => told.said.push(`error: ${error.message}`));
  if (!of.probe) {
    await context.route("**", (route) => {
      const asked = route.request().url().split("#")[0];
      if (asked === url) return route.continue();
      told.requests.push(asked);
      return route.abort();
    });
  }
  if (of.weak) await context.addInitScript(() => { SubtleCrypto.prototype.importKey = async () => { throw new Error("NotSupportedError"); }; });
  await page.goto(url);
  const form = page.locator("#v-form");
  if (of.script ?? true) await page.waitForSelector("#v-form[data-able]", { state: "attached" });
  told.able = await form.getAttribute("data-able");
  told.form = await form.isVisible();
  told.overflow = await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth));
  Object.assign(told, await page.evaluate(looked));
  if (of.probe) told.reached = await page.evaluate(probe, of.probe);
  if (of.parts) {
    const own = (await page.textContent("script")).replace("if (globalThis.document) start();", "");
    Object.assign(told, await page.evaluate(`(async () => { ${own}; return (${parts})(${readFileSync(of.parts, "utf8")}); })()`));
  }
  if (of.files) {
    if (of.dropped) await drop(page, of.files);
    else await page.setInputFiles("#v-files", of.files);
    await page.waitForFunction((n) => document.querySelectorAll("#v-list li").length === n, of.files.length);
    await page.fill("#v-trust", of.trust);
    await page.click("#v-go");
    const result = page.locator("#v-result[data-verdict]");
    await result.waitFor();
    told.verdict = await result.getAttribute("data-verdict");
    told.line = await page.textContent("#v-verdict");
    told.steps = await page.$$eval("#v-steps li", (items) => items.map((item) => ({ state: item.dataset.state, text: item.textContent })));
    told.again = await page.fill("#v-trust", `${of.trust} `).then(() => page.locator("#v-result").isVisible());
  }
  told.text = (await page.locator("body").innerText()).slice(0, 20000);
  if (of.screenshot) await page.screenshot({ path: of.screenshot, fullPage: of.full ?? false });
  if (of.pdf) await page.pdf({ path: of.pdf, preferCSSPageSize: true });
  await context.close();
  return told;
}

const told = [];
for (const one of JSON.parse(readFileSync(given, "utf8"))) told.push(await run(one));
process.stdout.write(JSON.stringify(told));
await browser.close();
