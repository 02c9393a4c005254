// Builds dist/ from src/: the same source and the same esbuild (package-lock.json) give the same bytes.
// An argument names another folder to build into: the test compares it with dist/.
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "dist");
const common = { absWorkingDir: here, bundle: true, minify: true, charset: "utf8", legalComments: "none", logLevel: "warning" };

mkdirSync(out, { recursive: true });
await build({ ...common, entryPoints: ["src/main.js"], outfile: join(out, "explorer.js"), format: "iife", target: "es2020" });
await build({ ...common, entryPoints: ["src/style.css"], outfile: join(out, "explorer.css"), target: ["chrome111", "firefox113", "safari16.2"] });
