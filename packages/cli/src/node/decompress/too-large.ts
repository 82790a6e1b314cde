/** What is unpacked is larger than the caller wants to hold. */
export class TooLarge extends RangeError {}
