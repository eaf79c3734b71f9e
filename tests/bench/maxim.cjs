// MAXIM under tfjs (WebAssembly, one thread). node maxim.cjs NODE_MODULES retouching|enhancement
// Standard input: height and width (uint32) and pixels (uint8) of one photo after the other; standard output: the pixels of each.
const fs = require('fs');
const path = require('path');
const [, , modules, task] = process.argv;
const load = (name) => require(path.resolve(modules, name));
const tf = load('@tensorflow/tfjs-core');
const wasm = load('@tensorflow/tfjs-backend-wasm');
const converter = load('@tensorflow/tfjs-converter');
load('@tensorflow/tfjs-backend-cpu');

// As upscalerjs registers it.
const scaled = ({ inputs: [x, size] }) => tf.image.resizeNearestNeighbor(x, Array.from(size.dataSync()));
// The backend has no Einsum; the graph uses three.
const last = (x, w) => tf.reshape(tf.matMul(tf.reshape(x, [-1, w.shape[0]]), w), [...x.shape.slice(0, 3), w.shape[1]]);
const products = {
  'abcg,gf->abcf': last,
  'abgd,gf->abdf': (x, w) => last(tf.transpose(x, [0, 1, 3, 2]), w),
  'gb,cgef->bcef': (w, x) => tf.transpose(last(tf.transpose(x, [0, 2, 3, 1]), w), [3, 0, 1, 2]),
};

function read(count) {
  const bytes = Buffer.alloc(count);
  for (let at = 0; at < count; ) {
    const got = fs.readSync(0, bytes, at, count - at, null);
    if (!got) process.exit(0);
    at += got;
  }
  return bytes;
}

function write(bytes) {
  for (let at = 0; at < bytes.length; ) at += fs.writeSync(1, bytes, at);
}

async function main() {
  wasm.setWasmPaths(path.resolve(modules, '@tensorflow/tfjs-backend-wasm/wasm-out') + '/');
  wasm.setThreadsCount(1);
  await tf.setBackend('wasm');
  converter.registerOp('ScaleAndTranslate', scaled);
  converter.registerOp('Einsum', ({ inputs, attrs }) => products[attrs.equation](...inputs));
  const folder = path.resolve(modules, `@upscalerjs/maxim-${task}/models`);
  const { modelTopology, weightsManifest, format, signature } = JSON.parse(fs.readFileSync(path.join(folder, 'model.json')));
  const files = weightsManifest.flatMap((part) => part.paths).map((name) => fs.readFileSync(path.join(folder, name)));
  const weightData = new Uint8Array(Buffer.concat(files)).buffer;
  const weightSpecs = weightsManifest.flatMap((part) => part.weights);
  const artifacts = { modelTopology, weightSpecs, weightData, format, signature };
  const model = await converter.loadGraphModel({ load: async () => artifacts });
  for (;;) {
    const [height, width] = new Uint32Array(new Uint8Array(read(8)).buffer);
    const pixels = read(height * width * 3);
    const y = tf.tidy(() => {
      const x = tf.tensor4d(Float32Array.from(pixels, (level) => level / 255), [1, height, width, 3]);
      return tf.round(tf.mul(tf.clipByValue(model.execute(x), 0, 1), 255));
    });
    write(Buffer.from(Uint8Array.from(y.dataSync())));
    y.dispose();
  }
}

main();
