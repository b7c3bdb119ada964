/**
 * Returns the result of `action`. Rejects when it makes no progress for `milliseconds`, or once the signal `closed` is
 * aborted.
 * `action` gets a signal that is aborted when the attempt ends, and `progress`, which restarts the timer.
 */
export async function within({ milliseconds, what, closed }, action) {
  const attempt = new AbortController();
  let fail;
  let timer;
  const failed = new Promise((_, reject) => (fail = reject));
  const progress = () => {
    clearTimeout(timer);
    timer = setTimeout(() => fail(new Error(`${what}: no answer within ${milliseconds} ms`)), milliseconds);
  };
  const onClose = () => fail(new Error('The stream was closed'));
  progress();
  if (closed.aborted) onClose();
  closed.addEventListener('abort', onClose);
  try {
    return await Promise.race([failed, action(attempt.signal, progress)]);
  } finally {
    clearTimeout(timer);
    closed.removeEventListener('abort', onClose);
    attempt.abort();
  }
}

/** Returns the JSON of an answer. Calls `progress` for each piece of it: a large page takes long on a slow connection. */
export function jsonOf(answer, progress) {
  if (!answer.body) return answer.json(); // not the platform's own fetch
  const transform = (chunk, out) => {
    progress();
    out.enqueue(chunk);
  };
  return new Response(answer.body.pipeThrough(new TransformStream({ transform }))).json();
}
