import { randomBytes } from 'node:crypto';

const PASSWORD_LENGTH = 12;
const letters = 'abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789';

/** A password that stands nowhere but in this answer. */
export const newPassword = (): string => {
  let password = '';
  while (password.length < PASSWORD_LENGTH)
    for (const byte of randomBytes(PASSWORD_LENGTH))
      if (byte < Math.floor(256 / letters.length) * letters.length && password.length < PASSWORD_LENGTH)
        password += letters[byte % letters.length];
  return password;
};
