/** Debian's stock kernels through each of their doors, and what the kernel itself says about where it found itself. */
export interface Door {
  /** Of the catalogue. */
  readonly guest: string;
  readonly args: readonly string[];
  readonly says: string;
}

const XEN = ['--plugin', 'xen'] as const;
const BARE = 'Booting paravirtualized kernel on bare hardware';
const PVH = 'Booting kernel on Xen PVH';
const PVHVM = 'Booting paravirtualized kernel on Xen HVM';

export const DOORS: Readonly<Record<string, Door>> = {
  'amd64 native': { guest: 'debian', args: [], says: BARE },
  'amd64 16-bit entry': { guest: 'debian', args: ['--entry', 'linux16'], says: BARE },
  'amd64 PV': { guest: 'debian', args: XEN, says: 'Booting kernel on Xen\n' },
  'amd64 PVH': { guest: 'debian', args: [...XEN, '--entry', 'pvh'], says: PVH },
  'amd64 PVHVM': { guest: 'debian', args: [...XEN, '--entry', 'native'], says: PVHVM },
  '686-pae native': { guest: 'debian-i386', args: [], says: BARE },
  '686-pae PVH': { guest: 'debian-i386', args: [...XEN, '--entry', 'pvh'], says: PVH },
  '686-pae PVHVM': { guest: 'debian-i386', args: [...XEN, '--entry', 'native'], says: PVHVM },
  '686 native': { guest: 'debian-i386-nopae', args: [], says: BARE },
};
