// Puts everything the page needs into dist/, which any web server can serve as it is.
import {build} from 'esbuild';
import {cp, mkdir, rm} from 'node:fs/promises';

const MODEL = process.env.MODEL ?? '../../export/ser.tflite';
const RUNTIMES = ['litert_wasm_internal', 'litert_wasm_compat_internal']; // one is loaded

await rm('dist', {recursive: true, force: true});
await mkdir('dist/wasm', {recursive: true});
await build({
  entryPoints: ['src/page.js', 'src/microphone-worklet.js'],
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  minify: true,
  target: 'es2022',
});
for (const name of ['index.html', 'style.css']) await cp(`src/${name}`, `dist/${name}`);
for (const name of RUNTIMES) {
  for (const suffix of ['js', 'wasm']) {
    await cp(`node_modules/@litertjs/core/wasm/${name}.${suffix}`, `dist/wasm/${name}.${suffix}`);
  }
}
await cp(MODEL, 'dist/ser.tflite');
