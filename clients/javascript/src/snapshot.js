/** In hex; null where the page is not a secure context. */
export async function sha256(text) {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return null;
  const bytes = new Uint8Array(await subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** As the platform reports what nobody caught. */
export function report(error) {
  if (globalThis.reportError) return globalThis.reportError(error);
  setTimeout(() => {
    throw error;
  });
}

/** What listeners get: a value of its own, so that keeping or comparing it is safe. */
export function snapshotOf(response) {
  const { parts, last: seq, gaps, broken: repairing, expected, held, heldUnits, droppedTo, settled, ...same } = response;
  const values = [...parts.values()].map(({ length, ...part }) => ({ ...part, sha256: expected?.get(part.part)?.sha256 ?? null }));
  return { ...same, text: parts.get('text')?.text ?? '', parts: values, seq, gaps: [...gaps], repairing };
}
