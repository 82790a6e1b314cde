import * as v from 'valibot';

/** What a VM answers about its paravirt operations. Addresses are hexadecimal, `0x…`; bytes hexadecimal without prefix. */
const count = v.pipe(v.number(), v.integer(), v.minValue(0));

const spentUs = v.pipe(v.number(), v.minValue(0));

const moduleSchema = v.object({
  name: v.string(),
  version: v.string(),
  api: v.string(),
  guest: v.string(),
  kind: v.picklist(['typescript', 'guestCode', 'guestTable']),
  slots: v.array(v.string()),
  /** Of operations that are left out: what they would avoid does not leave guest code. */
  needless: v.array(v.string()),
  /** Operations that have failed and are out of their slots. */
  failed: v.array(v.string()),
  /** Of guest code: its global variables that are numbers, decimal. */
  variables: v.record(v.string(), v.string()),
});
export const modulesSchema = v.array(moduleSchema);

const slotSchema = v.object({
  index: count,
  name: v.string(),
  group: v.string(),
  convention: v.string(),
  state: v.picklist(['own', 'native', 'nop', 'unwanted', 'forgotten']),
  sites: count,
  module: v.optional(v.string()),
  target: v.string(),
  targetName: v.optional(v.string()),
  /** Since the last report; microseconds of the host's that the operation took are told only if there were any. */
  calls: v.optional(count),
  spentUs: v.optional(spentUs),
});

export const liveReportSchema = v.object({
  slide: v.string(),
  table: v.string(),
  sites: count,
  leftOut: count,
  /** Of the sites, those in kernel modules; and more that are left alone, since what they call is not known. */
  moduleSites: count,
  moduleSitesUnknown: count,
  /** Sites that somebody else has written to. */
  strays: count,
  counting: v.boolean(),
  /** How long the guest stood still at most while its kernel was found, in ms; not if it has registered operations before, or got some at boot. */
  findMs: v.optional(v.number()),
  findCpuMs: v.optional(v.number()),
  textSha256: v.optional(v.string()),
  textSha256Before: v.optional(v.string()),
  modules: modulesSchema,
  /** Of the table. */
  slots: v.array(slotSchema),
  /** Operations that are static calls. */
  staticCalls: v.array(slotSchema),
});
export type LiveReport = v.InferOutput<typeof liveReportSchema>;

export const changeSchema = v.object({
  name: v.string(),
  version: v.string(),
  /** Sites that were written. */
  sites: count,
  /** How long the guest stood still. */
  pauseMs: v.number(),
  pauseCpuMs: v.number(),
  /** How long it stood still at most while the change was made ready, in small steps. */
  prepareMs: v.number(),
  /** Of the kernel's code, once no module is left in it; and whether it is what it was before the first one. */
  textSha256: v.optional(v.string()),
  textIsAsBefore: v.optional(v.boolean()),
});
export type ChangeReport = v.InferOutput<typeof changeSchema>;

export const watchSchema = v.object({
  /** Calls since the last time, by slot. */
  slots: v.record(v.string(), count),
  sites: v.array(v.object({ address: v.string(), in: v.string(), slot: v.string(), calls: count })),
  /** Microseconds of the host's that operations took since the last time, by slot. */
  spentUs: v.record(v.string(), spentUs),
});
export type WatchReport = v.InferOutput<typeof watchSchema>;

export const siteSchema = v.object({
  address: v.string(),
  in: v.string(),
  slot: v.string(),
  bits: v.picklist([32, 64]),
  before: v.string(),
  now: v.string(),
  /** Where the slot's sites lead. */
  target: v.string(),
  /** Where the site is in the kernel's file. */
  linked: v.string(),
});
export type SiteReport = v.InferOutput<typeof siteSchema>;

const name = v.pipe(v.string(), v.minLength(1), v.maxLength(64));
export const opsReportParams = v.strictObject({
  /** Count calls from now on, or no longer; without it as before. */
  counts: v.optional(v.boolean()),
  text: v.optional(v.boolean(), false),
});
export const opsLoadParams = v.strictObject({
  module: v.pipe(v.string(), v.minLength(1), v.maxLength(4096)),
  strict: v.optional(v.boolean(), false),
  force: v.optional(v.boolean(), false),
});
export const opsUnloadParams = v.strictObject({ name });
export const opsSiteParams = v.strictObject({ site: name });
export const opsWatchParams = v.strictObject({
  intervalMs: v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(3_600_000)),
  topSites: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1000)), 10),
});
