export * from './backends/index.ts';
export * from './loader/image/index.ts';
export type { FirstRun } from './machine/first-runs.ts';
export {
  type CodeKeeper,
  type FromThread,
  findDoors,
  type KeptModule,
  type KeptRegion,
  KeptRegions,
  Machine,
  type MachineOptions,
  PackedRegions,
  type RegionPolicy,
  type RegionThread,
  RegionThreadServer,
  type RunEnd,
  regionName,
  type ToThread,
  uncallableFunctions,
} from './machine/index.ts';
export type { GuestSample } from './machine/sampler.ts';
export * from './plugin/index.ts';
export type { CompressionKind, DecompressOptions, Decompressor } from './ports/decompressor.ts';
export type { HostFile } from './ports/host-file.ts';
export type {
  Capacity,
  FileKind,
  FileStatus,
  FolderFile,
  FolderPath,
  HostFolder,
  OpenMode,
  StatusChange,
} from './ports/host-folder.ts';
export type {
  HostSockets,
  HostTcp,
  HostUdp,
  SocketAddress,
  TcpEvents,
  UdpEvents,
} from './ports/host-sockets.ts';
export type { ModuleImporter } from './ports/module-importer.ts';
export type { PluginCalls } from './ports/plugin-calls.ts';
export * from './pvops/index.ts';
