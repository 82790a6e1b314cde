import { PciFunction } from './function.ts';

const INTEL = 0x8086;
/** 82441FX PMC: the host bridge that every PC operating system knows. Of its own registers none is here (290549-001). */
const HOST_BRIDGE = 0x1237;
const CLASS_HOST_BRIDGE = 0x060000;

/** Function 0 of device 0: what stands between processor and bus. */
export function hostBridge(): PciFunction {
  const identity = { vendorId: INTEL, deviceId: HOST_BRIDGE, revision: 2, classCode: CLASS_HOST_BRIDGE };
  return new PciFunction({ name: 'host bridge', identity });
}
