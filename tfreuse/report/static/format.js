// Numbers as the report writes them.

const MINUS = "−";

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  let text;
  if (Math.abs(value) >= 10000) text = value.toExponential(1).replace("e+", "e");
  else if (Math.abs(value) >= 100) text = value.toFixed(0);
  else {
    const near = Math.min(Math.abs(value), Math.abs(value - 1));
    text = value.toFixed(near > 0 && near < 0.01 ? 3 : 2);
  }
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", MINUS);
}

/** An end that is missing is infinite: one seed has no interval. */
export function interval(row) {
  if (row.mean === null || row.mean === undefined) return "–";
  if (row.n === 1 && row.low === null) return number(row.mean);
  const low = row.low === null ? `${MINUS}∞` : number(row.low);
  const high = row.high === null ? "∞" : number(row.high);
  return `${number(row.mean)} [${low}, ${high}]`;
}

export function whole(value) {
  return value.toLocaleString("en");
}

export function short(value) {
  if (Number.isInteger(value)) return whole(value);
  return Number(value.toPrecision(3)).toString().replace("-", MINUS);
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const NAMES = {
  all: "all layers",
  stage: "stages",
  layer: "layers",
  leave_one_out: "all but one",
  prefix: "from the input",
  suffix: "to the output",
  none: "as transplanted",
  recalibration: "recalibrated",
  permutation: "permuted",
  "permutation+recalibration": "permuted + recalibrated",
  stitch: "stitched",
  fine_tuning: "fine-tuned",
  retention: "retention",
  drop: "drop",
  index: "reusability index",
  independent: "independent",
  same: "same initial values",
  sequential: "trained on from the donor",
};

export function name(word) {
  return Object.hasOwn(NAMES, word) ? NAMES[word] : word.replaceAll("-to-", " → ");
}
