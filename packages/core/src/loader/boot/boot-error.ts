import { PolyvisorError } from '@polyvisor/plugin-api';

/** What `vm` exits with when an image cannot be started. */
const IMAGE_EXIT_CODE = 3;
const mebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** `PV2013`: kernel or initrd do not fit into the guest's memory. */
export function doesNotFit(what: string, sizeBytes: number, where: string): PolyvisorError {
  return new PolyvisorError(
    'PV2013',
    `${what} of ${mebibytes(sizeBytes)} does not fit ${where}`,
    'give the guest more memory with --memory',
    IMAGE_EXIT_CODE,
  );
}

/** `PV2014`: a command line longer than the kernel takes. */
export function commandLineTooLong(bytes: number, most: number): PolyvisorError {
  return new PolyvisorError(
    'PV2014',
    `the command line has ${bytes} bytes and the kernel takes ${most}`,
    'shorten --append',
    IMAGE_EXIT_CODE,
  );
}

/** `PV2015`: boot modules for a door whose protocol has none. */
export function noModules(door: string): PolyvisorError {
  const fix = 'leave out --boot-module, or give one file with --initrd';
  return new PolyvisorError('PV2015', `the door ${door} takes no modules`, fix, IMAGE_EXIT_CODE);
}
