/** For vitest: properties without a seed of their own are tried with the same values in every run. */
import { configureGlobal } from 'fast-check';

configureGlobal({ seed: 2006 });
