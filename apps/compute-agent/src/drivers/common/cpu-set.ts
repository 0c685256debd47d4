/** Numbers of a machine's processors, `0-3,^2,8`, as Nova and Linux write them; null when the text is none. */
export const parseCpuSet = (text: string): number[] | null => {
  const all = new Set<number>();
  const without = new Set<number>();
  for (const part of text.split(',')) {
    const [, not, first, last] = /^\s*(\^?)(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(part) ?? [];
    if (first === undefined || Number(last ?? first) < Number(first)) return null;
    for (let cpu = Number(first); cpu <= Number(last ?? first); cpu++) (not ? without : all).add(cpu);
  }
  return [...all].filter((cpu) => !without.has(cpu)).sort((a, b) => a - b);
};

/** The same as text without ranges. */
export const cpuList = (cpus: readonly number[]): string => cpus.join();
