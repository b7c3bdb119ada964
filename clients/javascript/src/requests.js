/**
 * What `action` gives. Rejects when it makes no progress for so many milliseconds, or when the signal `closed` comes.
 * `action` gets a signal that ends with the attempt, and `progress`, which starts the time again.
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

/** The JSON of an answer; calls `progress` for each piece of it, as a large page may take long on a slow line. */
export function jsonOf(answer, progress) {
  if (!answer.body) return answer.json(); // not the platform's own fetch
  const transform = (chunk, out) => {
    progress();
    out.enqueue(chunk);
  };
  return new Response(answer.body.pipeThrough(new TransformStream({ transform }))).json();
}
