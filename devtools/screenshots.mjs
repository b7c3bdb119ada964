// The README's pictures, of a running demo. node screenshots.mjs <address of the page> <directory>
import assert from 'node:assert/strict';
import { isLive, runScenarios, until, zeros } from './chromium.mjs';

const [address, directory] = process.argv.slice(2);
const WIDE = { viewport: { width: 1360, height: 850 } };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 };

/** A window with several answers under way, and some history above them. */
async function busy(open, options) {
  const page = await open(address, { ...options, reducedMotion: 'reduce' });
  await isLive(page);
  await until(page, () => document.querySelectorAll('.message').length >= 8, undefined, 60000);
  await until(page, () => document.querySelectorAll('.message.streaming .text:not(:empty)').length >= 1);
  assert.deepEqual(await zeros(page), ['0', '0', '0']);
  return page;
}

const scenarios = {};
for (const colorScheme of ['light', 'dark']) {
  scenarios[`demo-${colorScheme}`] = async (open) => {
    const page = await busy(open, { ...WIDE, colorScheme });
    await page.fill('#say', '');
    await page.click('#burst');
    await page.waitForTimeout(2200); // for the eye: a minute's curve, and texts half written
    await page.screenshot({ path: `${directory}/demo-${colorScheme}.png` });
  };
  scenarios[`phone-${colorScheme}`] = async (open) => {
    const page = await busy(open, { ...PHONE, colorScheme });
    await page.screenshot({ path: `${directory}/phone-${colorScheme}.png` });
  };
}

await runScenarios(scenarios, ['demo-light+phone-light', 'demo-dark+phone-dark']);
