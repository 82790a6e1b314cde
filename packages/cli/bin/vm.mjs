#!/usr/bin/env node
// The sources are TypeScript and are run as they are; tsx teaches Node to read them.
import module from 'node:module';
import { register } from 'tsx/esm/api';

register();
module.register('./typescript-modules.mjs', import.meta.url);
await import('../src/main.ts');
