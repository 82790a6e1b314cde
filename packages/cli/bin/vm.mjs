#!/usr/bin/env node
// The sources are TypeScript and are run as they are; tsx teaches Node to read them.
import { register } from 'tsx/esm/api';

register();
await import('../src/main.ts');
