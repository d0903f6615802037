/** Numbers, ages and elements as this page writes them. */

/** A number for people; null is "not known". */
export function number(value, digits = 0) {
  if (value === null || value === undefined) return "not known";
  return value.toLocaleString(undefined, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];

/** How long ago a moment is, roughly. */
export function age(moment) {
  const seconds = (Date.now() - new Date(moment).getTime()) / 1000;
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size);
    if (count > 0) return `${count} ${unit}`;
  }
  return "< 1 min";
}

const PHASES = { explore: "exploring", finetune: "fine-tuning" };

/** The name of a phase of training. */
export const phase = (name) => PHASES[name] ?? name;

/** An element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
