'use client';

import { useEffect } from 'react';

import { currentSubject } from '@/lib/session';

/**
 * A page that comes back to the screen, from another tab or out of the browser's back/forward cache, was made for whoever was logged in
 * then. Where that is somebody else now, or nobody, it is loaded again, and the gateway decides what is shown.
 */
export function SessionWatch({ subject }: { subject: string }) {
  useEffect(() => {
    const look = async () => {
      // Without a connection nothing is known, and the page stays.
      const present = await currentSubject().catch(() => subject);
      if (present !== subject) window.location.reload();
    };
    const shown = ({ persisted }: PageTransitionEvent) => void (persisted && look());
    const visible = () => void (document.visibilityState === 'visible' && look());
    window.addEventListener('pageshow', shown);
    document.addEventListener('visibilitychange', visible);
    return () => {
      window.removeEventListener('pageshow', shown);
      document.removeEventListener('visibilitychange', visible);
    };
  }, [subject]);
  return null;
}
